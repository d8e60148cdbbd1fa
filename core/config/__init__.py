"""Settings: how one is declared and parsed, the table of all of them, and what follows from them.

``worker_config`` is the table, ``declaration`` parses and checks, ``destinations`` and
``cardinality_limits`` turn settings into typed values. Imports nothing else of the core.
"""

"""Settings: declaration, parsing, the table of all settings, and the values derived from them.

``worker_config`` is the table, ``declaration`` parses and validates, ``destinations`` and
``cardinality_limits`` turn settings into typed values. Imports nothing else from the core.
"""

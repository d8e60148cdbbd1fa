"""Settings: declaration, parsing, the table of all settings, and the values derived from them.

``settings_table`` is the table, ``worker_config`` checks it, ``declaration`` parses and validates
one setting, ``destinations`` and ``cardinality_limits`` turn settings into typed values. Imports
nothing else from the core.
"""

"""The ``openqoe`` command: one module for each of its commands, and the clients that they use.

``entry_point`` is where a process starts, ``commands`` lists the commands. ``*_client`` and
``recording`` do the work of a command without click, so that tests and benchmarks can call them.
"""

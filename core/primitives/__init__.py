"""Building blocks that know nothing of QoE: incremental work, timers, interning, a msgpack stream.

They import nothing of the core, so every layer may use them.
"""

"""The engine: takes batches in, flushes, exports, and makes durable what it acknowledged.

``components`` wires it. ``ingest`` is the way in, ``flush`` decides when state goes out,
``export`` turns it into payloads, ``durability`` orders what goes to disk, ``checkpoint`` captures
and restores the state, ``load_shedding`` and ``dedup`` protect the way in.
"""

"""The engine: accepts batches, flushes, exports, and makes acknowledged batches durable.

``components`` wires it. ``ingest`` is the way in, ``flush`` decides when state goes out,
``export`` turns it into payloads, ``destination_queues`` delivers them, ``durability`` orders what
goes to disk, ``checkpoint`` captures and restores the state, ``load_shedding`` and ``dedup``
protect the way in.
"""

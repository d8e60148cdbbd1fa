"""Events: their types, and the decoding and validation of request bodies.

``event_types`` declares them and ``decoder`` decodes a body. ``slicing``, ``sanitize``,
``tokenizer`` and ``repair`` save valid events of a faulty body; ``faults`` describes the others.
"""

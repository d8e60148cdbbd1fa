"""What several workers share through a key-value store, so that they count as one.

``exchange`` talks to the store; it carries the parts: ``admissions`` (cardinality), ``views``
(batches and the logs of views) and ``presence`` (concurrent views).
"""

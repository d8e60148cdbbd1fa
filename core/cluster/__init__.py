"""Coordination of several workers, so that together they count as one.

The workers of one host divide the views (``partition``) and forward batches (``forwarding``). Those
of several hosts share a key-value store.

``coordinator`` sends updates to the store. An update carries operations of three participants:
``shared_views`` (batches and the logs of views), ``cardinality_sync`` (admitted label values) and
``concurrency_sync`` (concurrent views). ``view_log`` is the theory: how workers share a view.
"""

"""Coordination of several workers through a key-value store, so that together they count as one.

``coordinator`` sends updates to the store. An update carries operations of three participants:
``shared_views`` (batches and the logs of views), ``cardinality_sync`` (admitted label values) and
``concurrency_sync`` (concurrent views). ``view_log`` is the theory: how workers share a view.
"""

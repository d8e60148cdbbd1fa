"""Metrics as cumulative state: metric declarations, series, and the registry that holds them.

``metric`` declares, ``series`` holds one label set of a metric, ``registry`` all of them;
``health_metrics`` is the catalogue of the worker's own health and ``exposition`` its text format.
Knows nothing of events or of delivery.
"""

"""Metrics as cumulative state: metric declarations, series, and the registry that holds them.

``metric`` declares, ``series`` holds one label set of a metric, ``registry`` holds all series;
``health_metrics`` is the catalogue of the worker's own health, ``exposition`` its text format.
This package does not know events or delivery.
"""

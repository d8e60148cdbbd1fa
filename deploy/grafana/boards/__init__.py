"""Grafana dashboards, generated from the metric catalogue: one module per dashboard.

``promql`` and ``logql`` build queries, ``panels`` and ``variables`` build the elements of a
dashboard, ``board`` assembles it. Field names follow Grafana's Foundation SDK. Only
``deploy/grafana/generate.py`` imports this package.
"""

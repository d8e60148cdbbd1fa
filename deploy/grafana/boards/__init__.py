"""Grafana dashboards, made of the metric catalogue: one module a dashboard.

``promql`` and ``logql`` write queries, ``panels`` and ``variables`` what shows them, ``board`` puts
a dashboard together. Field names are those of Grafana's own Foundation SDK. Imported by
``deploy/grafana/generate.py`` alone.
"""

"""Renders series in Prometheus' text format, for ``/metrics``.

Source: the text-based exposition format 0.0.4 of the Prometheus documentation.
"""

import math
from collections.abc import Iterable

from .metric import Metric
from .series import Series

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(series: Iterable[Series]) -> bytes:
    """Renders all series, grouped by metric, sorted by name."""
    families: dict[Metric, list[Series]] = {}
    for one in series:
        families.setdefault(one.metric, []).append(one)
    lines: list[str] = []
    for metric in sorted(families, key=lambda metric: metric.name):
        lines.append(f"# HELP {metric.name} {_escape_help(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.type.name.lower()}")
        for one in families[metric]:
            for (name, more), value in zip(one.sample_names(), one.values(), strict=True):
                lines.append(f"{name}{_labels((*one.labels, *more))} {_number(value)}")
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_escape_value(value)}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(value)
    return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Inf")


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_value(text: str) -> str:
    return _escape_help(text).replace('"', '\\"')

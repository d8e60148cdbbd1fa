"""What an operator should know when the worker starts."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..config.declaration import find_unknown_variables
from ..config.worker_config import Config
from ..effects import Notice

STALE_AFTER_MS = 4 * 60_000
"""ms; Prometheus looks back five minutes for a series' latest sample."""


def collect_notices(config: Config, environment: Mapping[str, str]) -> tuple[Notice, ...]:
    """Lines for the log at start: where data goes, and what is probably not meant so."""
    lines: list[Notice] = []
    for kind, destination in (
        *(("metrics", one) for one in config.metrics_destinations),
        *(("logs", one) for one in config.logs_destinations),
    ):
        where = ("host", urlsplit(destination.url).netloc)
        if destination.is_embedded:
            where = ("directory", config.data_dir)
        fields = (("kind", kind), ("destination", destination.name), where)
        lines.append(Notice("info", "destination", fields))
        if destination.derived:
            lines.append(
                Notice(
                    "warning",
                    "URL derived from the region; stacks differ, so compare it with your "
                    "stack's page and set it explicitly",
                    (("destination", destination.name), ("url", destination.url)),
                )
            )
    if not config.metrics_destinations and not config.logs_destinations:
        lines.append(
            Notice(
                "warning",
                "no destination is configured and OPENQOE_EMBEDDED is off: events are counted and "
                "go nowhere; set MIMIR_URL or PROMETHEUS_URL, and LOKI_URL",
            )
        )
    if config.durability == "memory":
        lines.append(
            Notice(
                "warning",
                "OPENQOE_DURABILITY is memory: a crash loses what was accepted and not delivered",
            )
        )
    if not config.api_keys:
        seen = ", and see the dashboard" if config.has_dashboard else ""
        lines.append(
            Notice(
                "warning",
                f"API_KEY is not set: anybody who reaches this port may post events{seen}",
            )
        )
    if config.flush_interval > STALE_AFTER_MS:
        lines.append(
            Notice(
                "warning",
                "OPENQOE_FLUSH_INTERVAL is so long that series vanish from Prometheus' instant "
                "queries between flushes (after 5 minutes)",
            )
        )
    for name in find_unknown_variables(Config, environment):
        lines.append(Notice("warning", "unknown setting is ignored", (("name", name),)))
    return tuple(lines)

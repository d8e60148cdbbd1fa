"""Notices that the worker logs when it starts."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..config.declaration import find_unknown_variables
from ..config.worker_config import Config
from ..effects import Notice

STALE_AFTER_MS = 4 * 60_000
"""Prometheus' instant queries look back 5 minutes for a series' latest sample."""


def collect_notices(config: Config, environment: Mapping[str, str]) -> tuple[Notice, ...]:
    """Return the notices: the destinations, and warnings about settings that are probably mistakes.

    Args:
        config: The settings.
        environment: The variables that they were read from, to find unknown names.
    """
    notices: list[Notice] = []

    def warn(event: str, *fields: tuple[str, str]) -> None:
        notices.append(Notice("warning", event, fields))

    for kind, destinations in (
        ("metrics", config.metrics_destinations),
        ("logs", config.logs_destinations),
    ):
        for destination in destinations:
            name = ("destination", destination.name)
            where = ("host", urlsplit(destination.url).netloc)
            if destination.is_embedded:
                where = ("directory", config.data_dir)
            notices.append(Notice("info", "destination", (("kind", kind), name, where)))
            if destination.is_url_derived:
                warn(
                    "URL was derived from the region; stacks differ, so compare it with the page "
                    "of your stack and set it explicitly",
                    name,
                    ("url", destination.url),
                )
    if not config.metrics_destinations and not config.logs_destinations:
        warn(
            "no destination is configured and OPENQOE_EMBEDDED is off: events are counted and "
            "not delivered; set MIMIR_URL or PROMETHEUS_URL, and LOKI_URL"
        )
    if config.durability == "memory":
        warn("OPENQOE_DURABILITY is memory: a crash loses accepted data that is not yet delivered")
    if not config.api_keys and config.keys_file is None:
        is_open = config.has_dashboard and not config.read_keys
        dashboard = " and open the dashboard" if is_open else ""
        warn(f"API_KEY is not set: every client that reaches this port can send events{dashboard}")
    elif not config.read_keys and config.keys_file is None:
        warn(
            "OPENQOE_READ_KEY is not set: API_KEY opens /stats and the dashboard, from this "
            "machine only; set OPENQOE_READ_KEY or OPENQOE_KEYS_FILE to read from elsewhere"
        )
    if set(config.api_keys) & set(config.read_keys):
        warn("API_KEY and OPENQOE_READ_KEY share a key: pages that send events reveal it")
    if config.tenant_template is not None and (config.keys_file is None or config.api_keys):
        warn(
            "OPENQOE_TENANT contains {org_id}, and not all keys are limited to organisations: a "
            "page can write to any tenant; give keys orgs in OPENQOE_KEYS_FILE"
        )
    if config.flush_interval > STALE_AFTER_MS:
        warn(
            "OPENQOE_FLUSH_INTERVAL is too long: series disappear from instant queries of "
            "Prometheus 5 minutes after each flush"
        )
    for unknown in find_unknown_variables(Config, environment):
        warn("unknown setting ignored", ("name", unknown))
    return tuple(notices)

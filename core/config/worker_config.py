"""Every setting of the worker: the fields of ``Config``.

The environment variables, the documentation (``docs/configuration.md``) and the checks
all come from these declarations. Durations are given in seconds and kept in ms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from . import declaration
from .cardinality_limits import (
    DEFAULT_LIMITS,
    EXTRA_DIMENSIONS,
    CardinalityLimit,
    parse_cardinality_limits,
)
from .declaration import (
    SettingsError,
    parse_choice,
    parse_integer,
    parse_json_object,
    parse_list,
    parse_seconds,
    parse_store_url,
    parse_switch,
    parse_text,
    parse_url,
    setting,
)
from .destinations import (
    EMBEDDED_LOGS,
    EMBEDDED_METRICS,
    Destination,
    Faults,
    grafana_cloud_destinations,
    self_hosted_destinations,
)

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MIB = 1024 * 1024


def _url(env: str, help: str, group: str) -> Any:
    return setting(env, None, help, parse=parse_url, kind="URL", group=group)


def _text(env: str, help: str, group: str, *, secret: bool = False) -> Any:
    return setting(env, None, help, parse=parse_text, kind="text", secret=secret, group=group)


def _count(env: str, default: int, help: str, group: str, *, minimum: int = 1) -> Any:
    return setting(
        env, default, help, parse=parse_integer, kind="number", minimum=minimum, group=group
    )


def _bytes(env: str, default: int, help: str, group: str, *, minimum: int = 1024) -> Any:
    return setting(
        env,
        default,
        help,
        parse=parse_integer,
        kind="number",
        unit="bytes",
        minimum=minimum,
        group=group,
    )


def _seconds(env: str, default: int, help: str, group: str, *, minimum: int = 1) -> Any:
    return setting(
        env,
        default,
        help,
        parse=parse_seconds,
        kind="number",
        unit="s",
        minimum=minimum,
        group=group,
    )


def _switch(env: str, default: bool, help: str, group: str) -> Any:
    return setting(env, default, help, parse=parse_switch, kind="true or false", group=group)


def _list(env: str, default: tuple[str, ...], help: str, group: str, **more: Any) -> Any:
    return setting(
        env, default, help, parse=parse_list, kind="list, comma separated", group=group, **more
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, parsed and checked. Durations are in ms, sizes in bytes.

    Raises:
        SettingsError: On construction, naming every fault.
    """

    # Destinations
    mimir_url: str | None = _url(
        "MIMIR_URL",
        "Mimir's push endpoint; takes precedence over PROMETHEUS_URL.",
        "Destinations, self-hosted",
    )
    mimir_username: str | None = _text(
        "MIMIR_USERNAME", "User name for basic authentication.", "Destinations, self-hosted"
    )
    mimir_password: str | None = _text(
        "MIMIR_PASSWORD", "Its password.", "Destinations, self-hosted", secret=True
    )
    prometheus_url: str | None = _url(
        "PROMETHEUS_URL",
        "A Prometheus remote-write receiver, or any other (`…/api/v1/write`).",
        "Destinations, self-hosted",
    )
    prometheus_username: str | None = _text(
        "PROMETHEUS_USERNAME",
        "User name for basic authentication; also used with MIMIR_URL when MIMIR_USERNAME "
        "is not set.",
        "Destinations, self-hosted",
    )
    prometheus_password: str | None = _text(
        "PROMETHEUS_PASSWORD", "Its password.", "Destinations, self-hosted", secret=True
    )
    loki_url: str | None = _url(
        "LOKI_URL", "Loki's push endpoint (`…/loki/api/v1/push`).", "Destinations, self-hosted"
    )
    loki_username: str | None = _text(
        "LOKI_USERNAME", "User name for basic authentication.", "Destinations, self-hosted"
    )
    loki_password: str | None = _text(
        "LOKI_PASSWORD", "Its password.", "Destinations, self-hosted", secret=True
    )
    tenant: str | None = _text(
        "OPENQOE_TENANT",
        "Sent as X-Scope-OrgID to self-hosted Mimir and Loki.",
        "Destinations, self-hosted",
    )
    grafana_cloud_instance_id: str | None = _text(
        "GRAFANA_CLOUD_INSTANCE_ID",
        "Instance id: user name and tenant. Any GRAFANA_CLOUD_ setting selects Grafana Cloud.",
        "Destinations, Grafana Cloud",
    )
    grafana_cloud_api_key: str | None = _text(
        "GRAFANA_CLOUD_API_KEY",
        "API key with the roles MetricsPublisher and LogsPublisher.",
        "Destinations, Grafana Cloud",
        secret=True,
    )
    grafana_cloud_region: str | None = _text(
        "GRAFANA_CLOUD_REGION",
        "Region (us-central1) from which the URLs are derived when they are not given. "
        "Stacks differ: prefer the URLs on your stack's page.",
        "Destinations, Grafana Cloud",
    )
    grafana_cloud_metrics_url: str | None = _url(
        "GRAFANA_CLOUD_METRICS_URL",
        "Remote-write endpoint of the stack; wins over the region.",
        "Destinations, Grafana Cloud",
    )
    grafana_cloud_logs_url: str | None = _url(
        "GRAFANA_CLOUD_LOGS_URL",
        "Loki push endpoint of the stack; wins over the region.",
        "Destinations, Grafana Cloud",
    )

    # Embedded store
    embedded: Literal["auto", "on", "off"] = setting(
        "OPENQOE_EMBEDDED",
        "auto",
        "The embedded store, a SQLite file in the data directory, as a destination of metrics and "
        "logs. `auto`: when no other destination is configured; `on`: beside others, too; `off`: "
        "never. See [the embedded store](embedded.md).",
        parse=parse_choice("auto", "on", "off"),
        kind="choice",
        group="Embedded store",
    )
    embedded_max_age: int = _seconds(
        "OPENQOE_EMBEDDED_MAX_AGE",
        7 * 24 * HOUR,
        "How long the embedded store keeps samples and log entries.",
        "Embedded store",
        minimum=HOUR,
    )
    embedded_max_bytes: int = _bytes(
        "OPENQOE_EMBEDDED_MAX_BYTES",
        2048 * MIB,
        "How large the embedded store may become; past it the oldest samples and entries leave "
        "early.",
        "Embedded store",
        minimum=16 * MIB,
    )
    dashboard: bool = _switch(
        "OPENQOE_DASHBOARD",
        True,
        "Serve the dashboard at `/`, where the embedded store is a destination. Where API_KEY is "
        "set it asks for one of the keys.",
        "Embedded store",
    )

    # Access
    api_keys: tuple[str, ...] = _list(
        "API_KEY",
        (),
        "Keys that clients may use; several, comma separated, for rotation. Without one the "
        "worker is open to everybody.",
        "Access",
        secret=True,
        default_text="none: open",
    )
    cors_allowed_origins: tuple[str, ...] = _list(
        "CORS_ALLOWED_ORIGINS",
        ("*",),
        "Origins of the pages whose players may post; `*` allows all.",
        "Access",
        default_text="`*`",
    )

    # Limits of requests
    max_events: int = _count(
        "OPENQOE_MAX_EVENTS", 1000, "Events that one request may hold.", "Limits of requests"
    )
    max_body_bytes: int = _bytes(
        "OPENQOE_MAX_BODY_BYTES", 5 * MIB, "Size of a request's body.", "Limits of requests"
    )
    max_inflated_bytes: int = _bytes(
        "OPENQOE_MAX_INFLATED_BYTES",
        20 * MIB,
        "Size of a gzip or deflate body once inflated.",
        "Limits of requests",
    )
    max_event_bytes: int = _bytes(
        "OPENQOE_MAX_EVENT_BYTES", MIB, "Size of one event.", "Limits of requests"
    )
    max_header_bytes: int = _bytes(
        "OPENQOE_MAX_HEADER_BYTES",
        32 * 1024,
        "Size of a request's line and headers together.",
        "Limits of requests",
    )
    max_id_length: int = _count(
        "OPENQOE_MAX_ID_LENGTH",
        256,
        "Characters in event_type, org_id, player_id, view_id, session_id, viewer_id.",
        "Limits of requests",
    )
    max_string_length: int = _count(
        "OPENQOE_MAX_STRING_LENGTH",
        2048,
        "Characters in any other field that can become a label.",
        "Limits of requests",
    )
    max_event_age: int = _seconds(
        "OPENQOE_MAX_EVENT_AGE",
        24 * HOUR,
        "How far an event's event_time may lie in the past.",
        "Limits of requests",
    )
    max_event_lead: int = _seconds(
        "OPENQOE_MAX_EVENT_LEAD",
        5 * MINUTE,
        "How far an event's event_time may lie in the future.",
        "Limits of requests",
        minimum=0,
    )
    request_timeout: int = _seconds(
        "OPENQOE_REQUEST_TIMEOUT",
        30 * SECOND,
        "How long a client may take to send one request.",
        "Limits of requests",
    )
    max_connections: int = _count(
        "OPENQOE_MAX_CONNECTIONS",
        10_000,
        "Connections open at once; further ones are answered 503.",
        "Limits of requests",
    )
    max_wait: int = _seconds(
        "OPENQOE_MAX_WAIT",
        100,
        "How long a batch may have waited for the worker; on Linux, the time counts that it lay "
        "with the system, too. Once most wait longer for two seconds (a hundred at once), many of "
        "those that have waited half as long are answered 503 at once, so that the others need "
        "not wait as long. 0 switches this off.",
        "Limits of requests",
        minimum=0,
    )
    max_waiting_bytes: int = _bytes(
        "OPENQOE_MAX_WAITING_BYTES",
        64 * MIB,
        "Size of all bodies together that are being received, and again of all batches that wait "
        "for the journal or for a flush; past it requests are answered 503.",
        "Limits of requests",
    )
    http_parser: Literal["auto", "h11", "httptools"] = setting(
        "OPENQOE_HTTP_PARSER",
        "auto",
        "Which library reads request heads: `h11`, `httptools` (extra `fast`), or `auto`: the "
        "faster of those installed.",
        parse=parse_choice("auto", "h11", "httptools"),
        kind="choice",
        group="Limits of requests",
    )
    keep_alive_timeout: int = _seconds(
        "OPENQOE_KEEP_ALIVE_TIMEOUT",
        75 * SECOND,
        "How long an idle connection is kept open.",
        "Limits of requests",
    )

    # Duplicates
    dedup_window: int = _seconds(
        "OPENQOE_DEDUP_WINDOW",
        24 * HOUR,
        "A batch with the same bytes as one accepted within this time is acknowledged and "
        "not counted again (players send batches twice). 0 switches this off.",
        "Duplicates",
        minimum=0,
    )
    dedup_max: int = _count(
        "OPENQOE_DEDUP_MAX",
        200_000,
        "How many batches are remembered for that; the oldest are forgotten first.",
        "Duplicates",
    )

    # Governance
    cardinality_limits: Mapping[str, CardinalityLimit] = setting(
        "CARDINALITY_LIMITS",
        DEFAULT_LIMITS,
        "Limits by dimension, laid over the defaults: "
        '`{"limits":{"video_id":{"max_cardinality":1000,"action":"allow"}}}`.',
        parse=lambda text: parse_cardinality_limits(parse_json_object(text)),
        kind="JSON",
        group="Governance",
        default_text="see [governance](governance.md)",
    )
    max_series: int = _count(
        "OPENQOE_MAX_SERIES",
        200_000,
        "Series in memory; past it, new label sets share one overflow series a metric.",
        "Governance",
    )
    series_idle_timeout: int = _seconds(
        "OPENQOE_SERIES_IDLE_TIMEOUT",
        24 * HOUR,
        "A counter or histogram that has not changed for this long ends with a stale marker.",
        "Governance",
        minimum=SECOND,
    )
    extra_labels: tuple[str, ...] = _list(
        "OPENQOE_EXTRA_LABELS",
        (),
        "Governed dimensions to add to the labels of every metric: "
        "video_title, video_source_url, network_region, session_id, view_id, viewer_id.",
        "Governance",
        default_text="none",
    )
    country_headers: tuple[str, ...] = _list(
        "OPENQOE_COUNTRY_HEADERS",
        ("cf-ipcountry", "cloudfront-viewer-country", "x-country-code"),
        "Request headers that tell the viewer's country when the event does not; the first "
        "that is present counts.",
        "Governance",
        default_text="`CF-IPCountry`, `CloudFront-Viewer-Country`, `X-Country-Code`",
    )
    # Views
    view_timeout: int = _seconds(
        "OPENQOE_VIEW_TIMEOUT",
        30 * MINUTE,
        "A view without an event for this long has ended. It is remembered for "
        "OPENQOE_MAX_EVENT_AGE, so that a viewer who comes back is not counted twice.",
        "Views",
        minimum=MINUTE,
    )
    max_views: int = _count(
        "OPENQOE_MAX_VIEWS",
        1_000_000,
        "Views remembered at once, ended ones included; past it those that were silent longest "
        "are forgotten. A view takes about 1 KB of memory, one that has ended half of that.",
        "Views",
    )

    # Several processes
    kv_url: str = setting(
        "OPENQOE_KV_URL",
        "auto",
        "Where workers share what makes them count as one. `auto`: `sqlite` where several "
        "processes are to be expected (`--workers`, WSGI and ASGI hosts) and the durability is "
        "not `memory`, else `memory`; `memory`: each process for itself; `sqlite`: the processes "
        "that share a data directory; `sqlite:///path`: those that share the file; "
        "`redis://user:password@host:6379/0`, `rediss://` (TLS), `unix://`: all that share the "
        "Redis or Valkey server (extra `redis`).",
        parse=parse_store_url,
        kind="URL",
        secret=True,
        group="Several processes",
    )
    kv_prefix: str = setting(
        "OPENQOE_KV_PREFIX",
        "openqoe",
        "What all keys in Redis begin with: installations that share a server must differ in it.",
        parse=parse_text,
        kind="text",
        group="Several processes",
    )
    kv_sync_interval: int = _seconds(
        "OPENQOE_KV_SYNC_INTERVAL",
        5 * SECOND,
        "How often admitted values and concurrent views are exchanged.",
        "Several processes",
        minimum=100,
    )
    kv_patience: int = _seconds(
        "OPENQOE_KV_PATIENCE",
        30 * SECOND,
        "How long a batch that was accepted waits for a store that is away, before it is counted "
        "by what its worker knows alone.",
        "Several processes",
        minimum=0,
    )

    # Flush and delivery
    flush_interval: int = _seconds(
        "OPENQOE_FLUSH_INTERVAL",
        15 * SECOND,
        "How often metrics and logs are sent; 0 sends after every request, for hosts without "
        "a background.",
        "Flush and delivery",
        minimum=0,
    )
    instance: str | None = _text(
        "OPENQOE_INSTANCE",
        "The `instance` label of every series. Two processes must never share one. By default "
        "the host's name and the port. Under WSGI and ASGI hosts, where processes come and go, "
        "the process id is appended to it, or to the host's name.",
        "Flush and delivery",
    )
    max_samples_per_request: int = _count(
        "OPENQOE_MAX_SAMPLES_PER_REQUEST",
        5_000,
        "Samples in one remote-write request.",
        "Flush and delivery",
        minimum=2,
    )
    loki_encoding: Literal["protobuf", "json"] = setting(
        "OPENQOE_LOKI_ENCODING",
        "protobuf",
        "How logs are encoded: `protobuf` (snappy) or `json` (gzip).",
        parse=parse_choice("protobuf", "json"),
        kind="choice",
        group="Flush and delivery",
    )
    loki_batch_bytes: int = _bytes(
        "OPENQOE_LOKI_BATCH_BYTES",
        MIB,
        "Log lines are pushed as soon as this much waits, without waiting for the flush; those "
        "that do not fill a request wait for more, or for the flush.",
        "Flush and delivery",
    )
    loki_structured_metadata: bool = _switch(
        "OPENQOE_LOKI_STRUCTURED_METADATA",
        True,
        "Attach view_id, session_id, viewer_id and video_id to each log entry.",
        "Flush and delivery",
    )
    queue_max_bytes: int = _bytes(
        "OPENQOE_QUEUE_MAX_BYTES",
        64 * MIB,
        "What may wait in memory for one destination, with durability `memory`. Past it the "
        "oldest logs are dropped and counted; metrics wait in the registry instead, and no "
        "total is lost.",
        "Flush and delivery",
    )
    data_dir: str = setting(
        "OPENQOE_DATA_DIR",
        "./openqoe-data",
        "Directory of the journal and the outbox. Processes of one host may share it: each "
        "takes a slot of its own. It must be on a local disk.",
        parse=parse_text,
        kind="path",
        group="Durability",
    )
    durability: Literal["full", "normal", "memory"] = setting(
        "OPENQOE_DURABILITY",
        "full",
        "What a 202 promises. `full`: the batch is on disk (fsync) and survives the machine; "
        "`normal`: it survives the process, and all but the last moments the machine; "
        "`memory`: nothing is written, a crash loses what was not delivered.",
        parse=parse_choice("full", "normal", "memory"),
        kind="choice",
        group="Durability",
    )
    outbox_max_bytes: int = _bytes(
        "OPENQOE_OUTBOX_MAX_BYTES",
        1024 * MIB,
        "What may wait on disk for one destination. Past it the oldest logs are dropped; "
        "metrics are thinned to one sample a minute, then the oldest are dropped. Everything "
        "dropped is counted, and totals stay right.",
        "Durability",
    )
    outbox_max_age: int = _seconds(
        "OPENQOE_OUTBOX_MAX_AGE",
        48 * HOUR,
        "How long something may wait on disk before it is dropped and counted.",
        "Durability",
        minimum=MINUTE,
    )
    delivery_timeout: int = _seconds(
        "OPENQOE_DELIVERY_TIMEOUT",
        10 * SECOND,
        "How long a destination may take to answer.",
        "Flush and delivery",
    )
    shutdown_timeout: int = _seconds(
        "OPENQOE_SHUTDOWN_TIMEOUT",
        10 * SECOND,
        "How long the process may take to finish requests, hear of the shared store, and deliver "
        "when told to stop.",
        "Flush and delivery",
        minimum=0,
    )

    # Logging
    log_level: str = setting(
        "OPENQOE_LOG_LEVEL",
        "info",
        "debug, info, warning or error.",
        parse=parse_choice("debug", "info", "warning", "error"),
        kind="choice",
        group="Logging",
    )
    log_format: str = setting(
        "OPENQOE_LOG_FORMAT",
        "auto",
        "`json`, `human`, or `auto`: human on a terminal, else JSON.",
        parse=parse_choice("auto", "json", "human"),
        kind="choice",
        group="Logging",
    )

    def __post_init__(self) -> None:
        faults = [*declaration.find_out_of_bounds(self), *self._destinations()[2]]
        for name in self.extra_labels:
            if name not in EXTRA_DIMENSIONS:
                known = ", ".join(EXTRA_DIMENSIONS)
                faults.append(f"OPENQOE_EXTRA_LABELS names {name!r}, which is none of {known}")
        if faults:
            raise SettingsError(tuple(faults))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Make the configuration that the variables describe.

        Raises:
            SettingsError: Names every fault of every variable at once.
        """
        values, faults = declaration.parse_environment(cls, environment)
        try:
            config = cls(**values)
        except SettingsError as error:
            raise SettingsError((*faults, *error.faults)) from None
        if faults:
            raise SettingsError(faults)
        return config

    @property
    def metrics_destinations(self) -> tuple[Destination, ...]:
        """Where metrics go; several if the embedded store stands beside another."""
        return self._with_embedded(self._destinations()[0], EMBEDDED_METRICS)

    @property
    def logs_destinations(self) -> tuple[Destination, ...]:
        """Where logs go; several if the embedded store stands beside another."""
        return self._with_embedded(self._destinations()[1], EMBEDDED_LOGS)

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded store is a destination."""
        if self.embedded == "auto":
            metrics, logs, _ = self._destinations()
            return metrics is None and logs is None
        return self.embedded == "on"

    @property
    def has_dashboard(self) -> bool:
        """Whether there is a dashboard to be served."""
        return self.dashboard and self.is_embedded

    def _with_embedded(
        self, configured: Destination | None, embedded: Destination
    ) -> tuple[Destination, ...]:
        first = () if configured is None else (configured,)
        return (*first, embedded) if self.is_embedded else first

    def _destinations(self) -> tuple[Destination | None, Destination | None, Faults]:
        cloud = (
            self.grafana_cloud_instance_id,
            self.grafana_cloud_api_key,
            self.grafana_cloud_region,
            self.grafana_cloud_metrics_url,
            self.grafana_cloud_logs_url,
        )
        if any(cloud):
            return grafana_cloud_destinations(*cloud)
        return self_hosted_destinations(
            mimir=(self.mimir_url, self.mimir_username, self.mimir_password),
            prometheus=(self.prometheus_url, self.prometheus_username, self.prometheus_password),
            loki=(self.loki_url, self.loki_username, self.loki_password),
            tenant=self.tenant,
        )

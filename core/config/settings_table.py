"""The table of all settings of the worker: the fields of ``Settings``.

Environment variables, documentation (``docs/configuration.md``) and checks are derived from these
declarations. Durations are given in seconds and stored in ms, sizes are in bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from .cardinality_limits import (
    DEFAULT_LIMITS,
    EXTRA_DIMENSIONS,
    CardinalityLimit,
    parse_cardinality_limits,
)
from .declaration import (
    Parse,
    parse_choice,
    parse_fraction,
    parse_headers,
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
from .destinations import DEFAULT_TENANT
from .field_paths import CLIENT_ADDRESSES, parse_field_paths
from .log_labels import STREAM_LABELS
from .origins import parse_origins

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MIB = 1024 * 1024


def _optional(parse: Parse, env: str, help: str, **more: Any) -> Any:
    return setting(env, None, help, parse=parse, **more)


_text = partial(_optional, parse_text)
_token = partial(
    _text, help="Token for bearer authentication, instead of a user name.", secret=True
)
_url = partial(_optional, parse_url)
_count = partial(setting, parse=parse_integer, minimum=1)
_bytes = partial(setting, parse=parse_integer, unit="bytes", minimum=1024)
_seconds = partial(setting, parse=parse_seconds, unit="s", minimum=1)
_switch = partial(setting, parse=parse_switch)
_list = partial(setting, parse=parse_list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Durations are in ms, sizes in bytes.

    A ``group`` starts a section of the documentation; the settings after it belong to it as well.
    """

    mimir_url: str | None = _url(
        "MIMIR_URL",
        "Push endpoint of Mimir; takes precedence over PROMETHEUS_URL.",
        group="Destinations, self-hosted",
    )
    mimir_username: str | None = _text("MIMIR_USERNAME", "User name for basic authentication.")
    mimir_password: str | None = _text("MIMIR_PASSWORD", "Its password.", secret=True)
    mimir_bearer_token: str | None = _token("MIMIR_BEARER_TOKEN")
    prometheus_url: str | None = _url(
        "PROMETHEUS_URL",
        "A Prometheus remote-write receiver, or any compatible one (`…/api/v1/write`).",
    )
    prometheus_username: str | None = _text(
        "PROMETHEUS_USERNAME",
        "User name for basic authentication; also used with MIMIR_URL when MIMIR_USERNAME "
        "is not set.",
    )
    prometheus_password: str | None = _text("PROMETHEUS_PASSWORD", "Its password.", secret=True)
    prometheus_bearer_token: str | None = _token("PROMETHEUS_BEARER_TOKEN")
    loki_url: str | None = _url("LOKI_URL", "Push endpoint of Loki (`…/loki/api/v1/push`).")
    loki_username: str | None = _text("LOKI_USERNAME", "User name for basic authentication.")
    loki_password: str | None = _text("LOKI_PASSWORD", "Its password.", secret=True)
    loki_bearer_token: str | None = _token("LOKI_BEARER_TOKEN")
    tenant: str | None = _text(
        "OPENQOE_TENANT",
        "Sent as X-Scope-OrgID to self-hosted Mimir and Loki. With `{org_id}` in it, each "
        "organisation is a tenant.",
    )
    default_tenant: str | None = _text(
        "OPENQOE_DEFAULT_TENANT",
        "Tenant of the worker's own metrics, and of organisations that get none of their own, if "
        "`OPENQOE_TENANT` contains `{org_id}`.",
        default_text=DEFAULT_TENANT,
    )
    destination_headers: Mapping[str, str] = setting(
        "OPENQOE_DESTINATION_HEADERS",
        {},
        "Headers to add to every request to a self-hosted destination, as a JSON object: "
        '`{"X-Gateway-Key":"…"}`.',
        parse=parse_headers,
        secret=True,
        default_text="none",
    )

    grafana_cloud_instance_id: str | None = _text(
        "GRAFANA_CLOUD_INSTANCE_ID",
        "Instance id: user name and tenant. Any GRAFANA_CLOUD_ setting selects Grafana Cloud.",
        group="Destinations, Grafana Cloud",
    )
    grafana_cloud_api_key: str | None = _text(
        "GRAFANA_CLOUD_API_KEY",
        "API key with the roles MetricsPublisher and LogsPublisher.",
        secret=True,
    )
    grafana_cloud_region: str | None = _text(
        "GRAFANA_CLOUD_REGION",
        "Region (us-central1) from which URLs that are not set are derived. Stacks differ: prefer "
        "the URLs on the page of your stack.",
    )
    grafana_cloud_metrics_url: str | None = _url(
        "GRAFANA_CLOUD_METRICS_URL",
        "Remote-write endpoint of the stack; takes precedence over the region.",
    )
    grafana_cloud_logs_url: str | None = _url(
        "GRAFANA_CLOUD_LOGS_URL",
        "Loki push endpoint of the stack; takes precedence over the region.",
    )

    embedded: Literal["auto", "on", "off"] = setting(
        "OPENQOE_EMBEDDED",
        "auto",
        "Use the embedded store, a SQLite file in the data directory, as a destination of metrics "
        "and logs. `auto`: if no other destination is configured; `on`: beside others as well; "
        "`off`: never. See [the embedded store](embedded.md).",
        parse=parse_choice("auto", "on", "off"),
        group="Embedded store",
    )
    embedded_max_age: int = _seconds(
        "OPENQOE_EMBEDDED_MAX_AGE",
        7 * 24 * HOUR,
        "Retention of samples and log entries in the embedded store.",
        minimum=HOUR,
    )
    embedded_max_bytes: int = _bytes(
        "OPENQOE_EMBEDDED_MAX_BYTES",
        2048 * MIB,
        "Maximum size of the embedded store; the oldest samples and entries are deleted early to "
        "stay below it.",
        minimum=16 * MIB,
    )
    dashboard: bool = _switch(
        "OPENQOE_DASHBOARD",
        True,
        "Serve the dashboard at `/` if the embedded store is a destination. If a key is set, "
        "users sign in with one of scope read (OPENQOE_READ_KEY).",
    )

    api_keys: tuple[str, ...] = _list(
        "API_KEY",
        (),
        "API keys that send events, comma separated, so that keys can be rotated. Without any key, "
        "all requests are accepted.",
        secret=True,
        group="Access",
        default_text="none: open",
    )
    read_keys: tuple[str, ...] = _list(
        "OPENQOE_READ_KEY",
        (),
        "Keys, comma separated, that open the dashboard, its API, `/stats` and all of `/metrics`; "
        "API_KEY then opens none of these. With API_KEY alone, that key opens them, from the "
        "worker's own machine only. See [keys](privacy.md#keys).",
        secret=True,
        default_text="none",
    )
    keys_file: str | None = _text(
        "OPENQOE_KEYS_FILE",
        "JSON file of keys with scopes, organisations and limits, by their SHA-256; "
        "`openqoe keys` writes it. It is read again when it changes; an invalid file is reported "
        "and the keys before stay. See [keys](privacy.md#keys).",
    )
    limit_workers: int | None = _optional(
        parse_integer,
        "OPENQOE_LIMIT_WORKERS",
        "Number of workers that share the rates and quotas of keys: each applies this part of a "
        "limit to the requests that it handles. See [limits](privacy.md#rates-and-quotas).",
        minimum=1,
        default_text="the number of workers of the host",
    )
    allowed_hosts: tuple[str, ...] = _list(
        "OPENQOE_ALLOWED_HOSTS",
        (),
        "Host names under which the dashboard and `/stats` may be read where no key is set, beside "
        "addresses, names without a dot, and names below `.localhost`, `.local`, `.internal` and "
        "`.home.arpa`. It prevents DNS rebinding.",
        parse=lambda text: tuple(name.lower() for name in parse_list(text)),
        default_text="none",
    )
    cors_allowed_origins: tuple[str, ...] = setting(
        "CORS_ALLOWED_ORIGINS",
        ("*",),
        "Origins of the pages whose players may send events, such as `https://a.example`, or "
        "`https://*.a.example` for all subdomains; `*` allows all.",
        parse=parse_origins,
        default_text="`*`",
    )

    strip_query: bool = _switch(
        "OPENQOE_STRIP_QUERY",
        True,
        "Remove the query, the fragment and credentials from everything in events that looks like "
        "a URL, also inside of texts, before anything is stored; see "
        "[privacy](privacy.md#what-is-removed).",
        group="Privacy",
    )
    drop_fields: tuple[str, ...] = setting(
        "OPENQOE_DROP_FIELDS",
        CLIENT_ADDRESSES,
        "Members of events to remove before anything is stored, as paths: "
        "`network.ip,data.error_context`. `none` removes none.",
        parse=parse_field_paths,
        default_text="the address of the client: `" + ",".join(CLIENT_ADDRESSES) + "`",
    )
    hash_fields: tuple[str, ...] = setting(
        "OPENQOE_HASH_FIELDS",
        (),
        "Members of events to replace by a keyed hash before anything is stored, as paths: "
        "`viewer_id,session_id`. The hash of a value is the same at all times, and differs by "
        "organisation.",
        parse=parse_field_paths,
        default_text="none",
    )
    hash_key: str | None = _text(
        "OPENQOE_HASH_KEY",
        "Key of these hashes, of at least 16 characters. The default is the file `secret` in the "
        "data directory; workers on several hosts, or without a data directory, need this.",
        secret=True,
    )
    log_sample: float = setting(
        "OPENQOE_LOG_SAMPLE",
        1.0,
        "Fraction of views whose events become log lines, from 0 to 1. Metrics stay exact.",
        parse=parse_fraction,
        default_text="1",
    )

    max_events: int = _count(
        "OPENQOE_MAX_EVENTS", 1000, "Maximum events in one request.", group="Limits of requests"
    )
    max_body_bytes: int = _bytes(
        "OPENQOE_MAX_BODY_BYTES", 5 * MIB, "Maximum size of a request body."
    )
    max_inflated_bytes: int = _bytes(
        "OPENQOE_MAX_INFLATED_BYTES", 20 * MIB, "Maximum size of a gzip or deflate body, inflated."
    )
    max_event_bytes: int = _bytes("OPENQOE_MAX_EVENT_BYTES", MIB, "Maximum size of one event.")
    max_header_bytes: int = _bytes(
        "OPENQOE_MAX_HEADER_BYTES", 32 * 1024, "Maximum size of a request line and all headers."
    )
    max_id_length: int = _count(
        "OPENQOE_MAX_ID_LENGTH",
        256,
        "Maximum characters of event_type, org_id, player_id, view_id, session_id, viewer_id.",
    )
    max_string_length: int = _count(
        "OPENQOE_MAX_STRING_LENGTH",
        2048,
        "Maximum characters of any other field that can become a label.",
    )
    max_event_age: int = _seconds(
        "OPENQOE_MAX_EVENT_AGE", 24 * HOUR, "How far the event_time of an event may be in the past."
    )
    clock_correction: Literal["shift", "refuse"] = setting(
        "OPENQOE_CLOCK_CORRECTION",
        "shift",
        "Batches whose events all lie ahead, by more than `OPENQOE_MAX_EVENT_LEAD`, or before 2020 "
        "come from a wrong clock: `shift` moves their times so that the newest event happens on "
        "arrival, `refuse` refuses them. With `shift`, batches whose times are in s are taken as "
        "such.",
        parse=parse_choice("shift", "refuse"),
    )
    max_event_lead: int = _seconds(
        "OPENQOE_MAX_EVENT_LEAD",
        5 * MINUTE,
        "How far the event_time of an event may be in the future.",
        minimum=0,
    )
    cmcd_log: Literal["events", "all", "none"] = setting(
        "OPENQOE_CMCD_LOG",
        "events",
        "CMCD records that are logged: `events` (all but media requests that succeeded), `all`, "
        "or `none`.",
        parse=parse_choice("events", "all", "none"),
    )
    request_timeout: int = _seconds(
        "OPENQOE_REQUEST_TIMEOUT",
        30 * SECOND,
        "Maximum time in which a client sends one request, and completes a TLS handshake.",
    )
    max_connections: int = _count(
        "OPENQOE_MAX_CONNECTIONS",
        10_000,
        "Maximum open connections; additional ones are answered 503.",
    )
    max_wait: int = _seconds(
        "OPENQOE_MAX_WAIT",
        SECOND,
        "Target of load shedding (CoDel, RFC 8289): while every batch has waited longer, for at "
        "least 100 ms, the worker answers 503 to some of them, at a growing rate. On Linux the "
        "wait includes the time in the kernel's socket buffer. 0 disables load shedding.",
        minimum=0,
    )
    max_waiting_bytes: int = _bytes(
        "OPENQOE_MAX_WAITING_BYTES",
        32 * MIB,
        "Maximum size of all requests in transfer, and separately of all batches that wait for the "
        "journal or for a flush. Above it, the largest and slowest requests in transfer, and new "
        "batches, are answered 503.",
    )
    http_parser: Literal["auto", "h11", "httptools"] = setting(
        "OPENQOE_HTTP_PARSER",
        "auto",
        "Parser of request heads: `h11`, `httptools` (extra `fast`), or `auto`, the faster one "
        "that is installed.",
        parse=parse_choice("auto", "h11", "httptools"),
    )
    keep_alive_timeout: int = _seconds(
        "OPENQOE_KEEP_ALIVE_TIMEOUT", 75 * SECOND, "Time after which an idle connection is closed."
    )

    dedup_window: int = _seconds(
        "OPENQOE_DEDUP_WINDOW",
        24 * HOUR,
        "A batch whose bytes equal those of a batch accepted within this time is acknowledged and "
        "not counted again (players send batches twice). 0 disables deduplication.",
        minimum=0,
        group="Deduplication",
    )
    dedup_max: int = _count(
        "OPENQOE_DEDUP_MAX",
        200_000,
        "Maximum batches in the deduplication window; above it, the oldest batches of views seen "
        "once are evicted, then those of the largest organisations.",
    )

    cardinality_limits: Mapping[str, CardinalityLimit] = setting(
        "CARDINALITY_LIMITS",
        DEFAULT_LIMITS,
        "Limits by dimension, and lists of values that are always (`allow`) or never (`deny`) "
        "admitted; each overrides the default of its dimension: "
        '`{"limits":{"video_id":{"max_cardinality":1000,"action":"allow"}}}`.',
        parse=lambda text: parse_cardinality_limits(parse_json_object(text)),
        group="Governance",
        default_text="see [governance](governance.md)",
    )
    max_series: int = _count(
        "OPENQOE_MAX_SERIES",
        200_000,
        "Maximum series in memory; above it, new label sets share one overflow series per metric.",
    )
    series_idle_timeout: int = _seconds(
        "OPENQOE_SERIES_IDLE_TIMEOUT",
        24 * HOUR,
        "A counter or histogram without a change for this long ends with a stale marker.",
        minimum=SECOND,
    )
    extra_labels: tuple[str, ...] = _list(
        "OPENQOE_EXTRA_LABELS",
        (),
        f"Governed dimensions to add to the labels of every metric: {', '.join(EXTRA_DIMENSIONS)}.",
        default_text="none",
    )
    country_headers: tuple[str, ...] = _list(
        "OPENQOE_COUNTRY_HEADERS",
        ("cf-ipcountry", "cloudfront-viewer-country", "x-country-code"),
        "Request headers with the viewer's country, for events without one; the first header that "
        "is present is used.",
        default_text="`CF-IPCountry`, `CloudFront-Viewer-Country`, `X-Country-Code`",
    )

    view_timeout: int = _seconds(
        "OPENQOE_VIEW_TIMEOUT",
        30 * MINUTE,
        "A view ends after this time without an event. Its compact form is kept for "
        "OPENQOE_MAX_EVENT_AGE, so that a returning viewer is not counted twice.",
        minimum=MINUTE,
        group="Views",
    )
    max_views: int = _count(
        "OPENQOE_MAX_VIEWS",
        75_000,
        "Maximum views in memory, ended ones included; above it, ended views are evicted, then "
        "views seen once, then the longest silent of the largest organisations. A view uses up "
        "to 0.8 KB of memory, an ended one half of that. Set it to the number of views of a day, "
        "if the memory allows.",
    )

    workers: int = _count(
        "OPENQOE_WORKERS",
        0,
        "Number of processes that share the data directory: the views are divided among as many "
        "slots. A change takes effect when all of them have stopped. 0: the option `--workers` of "
        "`openqoe serve`, gunicorn, uvicorn, hypercorn and granian, `GUNICORN_CMD_ARGS` or "
        "`WEB_CONCURRENCY`, else 1.",
        minimum=0,
        group="Several processes",
    )
    kv_url: str = setting(
        "OPENQOE_KV_URL",
        "none",
        "Key-value store in which the workers of several hosts coordinate, so that together they "
        "count like one: `redis://user:password@host:6379/0`, `rediss://` (TLS) or `unix://` of a "
        "Redis or Valkey server (extra `redis`). `none`: the processes that share a data directory "
        "count like one by themselves.",
        parse=parse_store_url,
        secret=True,
    )
    kv_prefix: str = setting(
        "OPENQOE_KV_PREFIX",
        "openqoe",
        "Prefix of all keys in Redis; installations that share a server need different prefixes.",
        parse=parse_text,
    )
    kv_sync_interval: int = _seconds(
        "OPENQOE_KV_SYNC_INTERVAL",
        5 * SECOND,
        "Interval at which admitted values and concurrent views are synchronised.",
        minimum=100,
    )
    kv_patience: int = _seconds(
        "OPENQOE_KV_PATIENCE",
        30 * SECOND,
        "Maximum time for which an accepted batch waits for an unavailable store; after it, the "
        "batch is counted with the local state of its worker.",
        minimum=0,
    )

    flush_interval: int = _seconds(
        "OPENQOE_FLUSH_INTERVAL",
        15 * SECOND,
        "Interval at which metrics and logs are sent; 0 sends after every request, for hosts "
        "without background tasks. While flushes or deliveries take too long for it, it is "
        "stretched, to one minute at the most, and reported.",
        minimum=0,
        group="Flush and delivery",
    )
    instance: str | None = _text(
        "OPENQOE_INSTANCE",
        "The `instance` label of every series; two processes must never share one. The default is "
        "the host's name and the port. WSGI and ASGI hosts start and stop processes, so there the "
        "process id is appended to it, or to the host's name.",
    )
    max_samples_per_request: int = _count(
        "OPENQOE_MAX_SAMPLES_PER_REQUEST",
        5_000,
        "Maximum samples in one remote-write request.",
        minimum=2,
    )
    loki_encoding: Literal["protobuf", "json"] = setting(
        "OPENQOE_LOKI_ENCODING",
        "protobuf",
        "Encoding of logs: `protobuf` (snappy) or `json` (gzip).",
        parse=parse_choice("protobuf", "json"),
    )
    loki_batch_bytes: int = _bytes(
        "OPENQOE_LOKI_BATCH_BYTES",
        MIB,
        "Log lines are pushed in requests of this size as soon as one is full; a request that is "
        "not full waits for the flush.",
    )
    loki_structured_metadata: bool = _switch(
        "OPENQOE_LOKI_STRUCTURED_METADATA",
        True,
        "Attach view_id, session_id, viewer_id, video_id and the labels that are not stream labels "
        "to each log entry.",
    )
    log_labels: tuple[str, ...] = _list(
        "OPENQOE_LOG_LABELS",
        STREAM_LABELS,
        "Labels of log streams; the other labels of metrics, except video_id, become structured "
        "metadata. Each combination of values is a stream, so choose few: "
        "[streams](governance.md#streams-of-logs). Keep `instance` if there are several workers.",
        default_text="`org_id,player_id,event_type,env,instance`",
    )
    loki_max_streams: int = _count(
        "OPENQOE_LOKI_MAX_STREAMS",
        5_000,
        "Live log streams that Loki accepts of this worker (Loki's `max_global_streams_per_user`, "
        "divided by the number of workers); the worker warns at 80 %.",
    )
    queue_max_bytes: int = _bytes(
        "OPENQOE_QUEUE_MAX_BYTES",
        64 * MIB,
        "Maximum size of the queue of one destination in memory, with durability `memory`. Above "
        "it, the oldest logs are dropped and counted; metrics stay in the registry instead, and no "
        "total is lost.",
    )
    destination_ca_file: str | None = _text(
        "OPENQOE_DESTINATION_CA_FILE",
        "PEM file of the certificate authorities that destinations are verified with, instead of "
        "those of the system.",
    )
    destination_client_cert: str | None = _text(
        "OPENQOE_DESTINATION_CLIENT_CERT",
        "PEM file of the client certificate with which the worker identifies itself to "
        "destinations (mutual TLS).",
    )
    destination_client_key: str | None = _text(
        "OPENQOE_DESTINATION_CLIENT_KEY",
        "PEM file of its key; needed if the key is not in the file of the certificate.",
    )
    delivery_timeout: int = _seconds(
        "OPENQOE_DELIVERY_TIMEOUT", 10 * SECOND, "Maximum time for a destination's response."
    )
    shutdown_timeout: int = _seconds(
        "OPENQOE_SHUTDOWN_TIMEOUT",
        10 * SECOND,
        "Maximum time in which a stopping process completes requests, synchronises with the shared "
        "store and delivers.",
        minimum=0,
    )

    data_dir: str = setting(
        "OPENQOE_DATA_DIR",
        "./openqoe-data",
        "Directory of the journal and the outbox, on a local disk. The processes of one host may "
        "share it: each one locks a slot of its own.",
        parse=parse_text,
        group="Durability",
    )
    durability: Literal["full", "normal", "memory"] = setting(
        "OPENQOE_DURABILITY",
        "full",
        "Guarantee of a 202. `full`: the batch is on disk (fsync) and survives a crash of the "
        "machine; `normal`: it survives a crash of the process, and all but the last moments "
        "survive a crash of the machine; `memory`: nothing is written, and a crash loses all that "
        "was not delivered.",
        parse=parse_choice("full", "normal", "memory"),
    )
    outbox_max_bytes: int = _bytes(
        "OPENQOE_OUTBOX_MAX_BYTES",
        1024 * MIB,
        "Maximum size of the outbox of one destination. Above it, the oldest logs are dropped; "
        "metrics are thinned to one sample a minute, then the oldest are dropped. Every drop is "
        "counted, and totals stay exact.",
    )
    outbox_max_age: int = _seconds(
        "OPENQOE_OUTBOX_MAX_AGE",
        48 * HOUR,
        "Maximum age of data in the outbox; older data is dropped and counted.",
        minimum=MINUTE,
    )

    log_level: str = setting(
        "OPENQOE_LOG_LEVEL",
        "info",
        "debug, info, warning or error.",
        parse=parse_choice("debug", "info", "warning", "error"),
        group="Logging",
    )
    log_format: str = setting(
        "OPENQOE_LOG_FORMAT",
        "auto",
        "`json`, `human`, or `auto`: human on a terminal, else JSON.",
        parse=parse_choice("auto", "json", "human"),
    )

"""Every setting of the worker: variable, default, parsed value; and the faults of all settings."""

from typing import Any

import pytest

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS, CardinalityLimit
from openqoe.core.config.declaration import SettingsError, declared_settings
from openqoe.core.config.field_paths import CLIENT_ADDRESSES
from openqoe.core.config.log_labels import STREAM_LABELS
from openqoe.core.config.worker_config import Config

MIB = 1024 * 1024
HOUR = 3_600_000


def config_from(**environment: str) -> Config:
    return Config.from_environment(environment)


SETTINGS: list[tuple[str, str, str, Any, Any]] = [
    ("MIMIR_URL", "http://m/push", "mimir_url", None, "http://m/push"),
    ("PROMETHEUS_URL", "http://p/w", "prometheus_url", None, "http://p/w"),
    ("LOKI_URL", "http://l/push", "loki_url", None, "http://l/push"),
    ("OPENQOE_TENANT", "team", "tenant", None, "team"),
    (
        "OPENQOE_DESTINATION_HEADERS",
        '{"X-Gateway-Key":"k"}',
        "destination_headers",
        {},
        {"X-Gateway-Key": "k"},
    ),
    ("OPENQOE_DESTINATION_CA_FILE", "/ca.pem", "destination_ca_file", None, "/ca.pem"),
    ("OPENQOE_EMBEDDED", "On", "embedded", "auto", "on"),
    ("OPENQOE_EMBEDDED_MAX_AGE", "3600", "embedded_max_age", 7 * 24 * HOUR, HOUR),
    ("OPENQOE_EMBEDDED_MAX_BYTES", "16M", "embedded_max_bytes", 2048 * MIB, 16 * MIB),
    ("OPENQOE_DASHBOARD", "off", "dashboard", True, False),
    ("API_KEY", "old, new", "api_keys", (), ("old", "new")),
    ("OPENQOE_READ_KEY", "old, new", "read_keys", (), ("old", "new")),
    ("OPENQOE_KEYS_FILE", "/etc/keys.json", "keys_file", None, "/etc/keys.json"),
    ("OPENQOE_LIMIT_WORKERS", "4", "limit_workers", None, 4),
    ("OPENQOE_ALLOWED_HOSTS", "QoE.example", "allowed_hosts", (), ("qoe.example",)),
    (
        "CORS_ALLOWED_ORIGINS",
        "https://a.example,https://b.example",
        "cors_allowed_origins",
        ("*",),
        ("https://a.example", "https://b.example"),
    ),
    ("OPENQOE_STRIP_QUERY", "no", "strip_query", True, False),
    ("OPENQOE_DROP_FIELDS", "os, a.b", "drop_fields", CLIENT_ADDRESSES, ("os", "a.b")),
    ("OPENQOE_DROP_FIELDS", "none", "drop_fields", CLIENT_ADDRESSES, ()),
    ("OPENQOE_HASH_FIELDS", "viewer_id", "hash_fields", (), ("viewer_id",)),
    ("OPENQOE_HASH_KEY", "0123456789abcdef", "hash_key", None, "0123456789abcdef"),
    ("OPENQOE_LOG_SAMPLE", "0.25", "log_sample", 1.0, 0.25),
    ("OPENQOE_MAX_EVENTS", "10", "max_events", 1000, 10),
    ("OPENQOE_MAX_BODY_BYTES", "1MiB", "max_body_bytes", 5 * MIB, MIB),
    ("OPENQOE_MAX_INFLATED_BYTES", "1024", "max_inflated_bytes", 20 * MIB, 1024),
    ("OPENQOE_MAX_EVENT_BYTES", "64KiB", "max_event_bytes", MIB, 64 * 1024),
    ("OPENQOE_MAX_HEADER_BYTES", "64k", "max_header_bytes", 32 * 1024, 64 * 1024),
    ("OPENQOE_MAX_ID_LENGTH", "64", "max_id_length", 256, 64),
    ("OPENQOE_MAX_STRING_LENGTH", "99", "max_string_length", 2048, 99),
    ("OPENQOE_MAX_EVENT_AGE", "3600", "max_event_age", 24 * HOUR, HOUR),
    ("OPENQOE_CLOCK_CORRECTION", "refuse", "clock_correction", "shift", "refuse"),
    ("OPENQOE_MAX_EVENT_LEAD", "0", "max_event_lead", 300_000, 0),
    ("OPENQOE_MAX_CONNECTIONS", "5", "max_connections", 10_000, 5),
    ("OPENQOE_MAX_WAIT", "0.5", "max_wait", 1_000, 500),
    ("OPENQOE_MAX_WAITING_BYTES", "1MiB", "max_waiting_bytes", 32 * 2**20, 2**20),
    ("OPENQOE_REQUEST_TIMEOUT", "0.5", "request_timeout", 30_000, 500),
    ("OPENQOE_KEEP_ALIVE_TIMEOUT", "5", "keep_alive_timeout", 75_000, 5_000),
    ("OPENQOE_HTTP_PARSER", "h11", "http_parser", "auto", "h11"),
    ("OPENQOE_CMCD_LOG", "all", "cmcd_log", "events", "all"),
    ("OPENQOE_DEDUP_WINDOW", "0", "dedup_window", 24 * HOUR, 0),
    ("OPENQOE_DEDUP_MAX", "5", "dedup_max", 200_000, 5),
    (
        "CARDINALITY_LIMITS",
        '{"limits":{"env":{"max_cardinality":3}}}',
        "cardinality_limits",
        DEFAULT_LIMITS,
        {**DEFAULT_LIMITS, "env": CardinalityLimit("allow", 3)},
    ),
    ("OPENQOE_MAX_SERIES", "9", "max_series", 200_000, 9),
    ("OPENQOE_SERIES_IDLE_TIMEOUT", "60", "series_idle_timeout", 24 * HOUR, 60_000),
    ("OPENQOE_EXTRA_LABELS", "view_id", "extra_labels", (), ("view_id",)),
    (
        "OPENQOE_COUNTRY_HEADERS",
        "X-Geo",
        "country_headers",
        ("cf-ipcountry", "cloudfront-viewer-country", "x-country-code"),
        ("X-Geo",),
    ),
    ("OPENQOE_WORKERS", "4", "workers", 0, 4),
    ("OPENQOE_KV_URL", "redis://:pw@kv:6379/0", "kv_url", "none", "redis://:pw@kv:6379/0"),
    ("OPENQOE_KV_PREFIX", "eu", "kv_prefix", "openqoe", "eu"),
    ("OPENQOE_KV_SYNC_INTERVAL", "1", "kv_sync_interval", 5_000, 1_000),
    ("OPENQOE_KV_PATIENCE", "0", "kv_patience", 30_000, 0),
    ("OPENQOE_VIEW_TIMEOUT", "60", "view_timeout", 1_800_000, 60_000),
    ("OPENQOE_MAX_VIEWS", "5", "max_views", 75_000, 5),
    ("OPENQOE_FLUSH_INTERVAL", "0", "flush_interval", 15_000, 0),
    ("OPENQOE_INSTANCE", "eu-1", "instance", None, "eu-1"),
    ("OPENQOE_MAX_SAMPLES_PER_REQUEST", "2", "max_samples_per_request", 5_000, 2),
    ("OPENQOE_LOKI_ENCODING", "JSON", "loki_encoding", "protobuf", "json"),
    ("OPENQOE_LOG_LABELS", "event_type,env", "log_labels", STREAM_LABELS, ("event_type", "env")),
    ("OPENQOE_LOKI_MAX_STREAMS", "100", "loki_max_streams", 5_000, 100),
    ("OPENQOE_LOKI_BATCH_BYTES", "2M", "loki_batch_bytes", MIB, 2 * MIB),
    ("OPENQOE_LOKI_STRUCTURED_METADATA", "no", "loki_structured_metadata", True, False),
    ("OPENQOE_QUEUE_MAX_BYTES", "1M", "queue_max_bytes", 64 * MIB, MIB),
    ("OPENQOE_DATA_DIR", "/var/lib/openqoe", "data_dir", "./openqoe-data", "/var/lib/openqoe"),
    ("OPENQOE_DURABILITY", "Normal", "durability", "full", "normal"),
    ("OPENQOE_OUTBOX_MAX_BYTES", "5M", "outbox_max_bytes", 1024 * MIB, 5 * MIB),
    ("OPENQOE_OUTBOX_MAX_AGE", "3600", "outbox_max_age", 48 * HOUR, HOUR),
    ("OPENQOE_DELIVERY_TIMEOUT", "3", "delivery_timeout", 10_000, 3_000),
    ("OPENQOE_SHUTDOWN_TIMEOUT", "0", "shutdown_timeout", 10_000, 0),
    ("OPENQOE_LOG_LEVEL", "Debug", "log_level", "info", "debug"),
    ("OPENQOE_LOG_FORMAT", "json", "log_format", "auto", "json"),
]


@pytest.mark.parametrize(("name", "text", "field", "default", "value"), SETTINGS)
def test_setting_is_parsed_from_its_variable(
    name: str, text: str, field: str, default: Any, value: Any
) -> None:
    assert getattr(Config(), field) == default
    assert getattr(config_from(**{name: text}), field) == value
    assert getattr(config_from(**{name: "  "}), field) == default


def test_every_setting_is_tested_or_part_of_a_destination() -> None:
    rest = {one.env for one in declared_settings(Config).values()} - {name for name, *_ in SETTINGS}
    assert {name for name in rest if not name.startswith("GRAFANA_CLOUD_")} == {
        f"{server}_{part}"
        for server in ("MIMIR", "PROMETHEUS", "LOKI")
        for part in ("USERNAME", "PASSWORD", "BEARER_TOKEN")
    } | {
        "OPENQOE_DESTINATION_CLIENT_CERT",
        "OPENQOE_DESTINATION_CLIENT_KEY",
        "OPENQOE_DEFAULT_TENANT",
    }


@pytest.mark.parametrize("name", [one.env for one in declared_settings(Config).values()])
def test_help_text_of_every_setting_is_a_sentence(name: str) -> None:
    (found,) = (one for one in declared_settings(Config).values() if one.env == name)
    assert found.help.endswith(".")


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"MIMIR_URL": "mimir"}, "MIMIR_URL is not an http or https URL"),
        ({"OPENQOE_MAX_EVENTS": "0"}, "OPENQOE_MAX_EVENTS must be at least 1"),
        ({"OPENQOE_MAX_BODY_BYTES": "1"}, "OPENQOE_MAX_BODY_BYTES must be at least 1024 bytes"),
        ({"OPENQOE_REQUEST_TIMEOUT": "0"}, "OPENQOE_REQUEST_TIMEOUT must be at least 0.001 s"),
        ({"OPENQOE_FLUSH_INTERVAL": "-1"}, "OPENQOE_FLUSH_INTERVAL must be at least 0 s"),
        ({"OPENQOE_VIEW_TIMEOUT": "59"}, "OPENQOE_VIEW_TIMEOUT must be at least 60 s"),
        ({"OPENQOE_LOG_LEVEL": "loud"}, "OPENQOE_LOG_LEVEL is not one of debug, info, warning"),
        ({"OPENQOE_LOKI_ENCODING": "xml"}, "OPENQOE_LOKI_ENCODING is not one of protobuf, json"),
        ({"OPENQOE_EXTRA_LABELS": "mood"}, "OPENQOE_EXTRA_LABELS names 'mood', which is none of"),
        (
            {"OPENQOE_LOG_LABELS": "event_type,video_id"},
            "OPENQOE_LOG_LABELS names 'video_id', which is none of",
        ),
        ({"OPENQOE_TENANT": "a {org_id}"}, "OPENQOE_TENANT is no tenant"),
        ({"OPENQOE_DEFAULT_TENANT": "team"}, "OPENQOE_DEFAULT_TENANT needs {org_id}"),
        (
            {"OPENQOE_TENANT": "{org_id}", "CARDINALITY_LIMITS": '{"org_id":{"action":"drop"}}'},
            "OPENQOE_TENANT contains {org_id}, so CARDINALITY_LIMITS must have the action allow",
        ),
        ({"OPENQOE_LOG_LABELS": "org_id"}, "OPENQOE_LOG_LABELS lacks event_type"),
        ({"CARDINALITY_LIMITS": "{"}, "CARDINALITY_LIMITS is not JSON"),
        ({"CARDINALITY_LIMITS": "[]"}, "CARDINALITY_LIMITS is not a JSON object"),
        ({"CARDINALITY_LIMITS": '{"mood":{}}'}, "CARDINALITY_LIMITS is wrong at 'mood': no such"),
    ],
)
def test_fault_starts_with_the_name_of_its_setting(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        config_from(**environment)
    (found,) = caught.value.faults
    assert found.startswith(fault)


def test_one_error_names_every_fault() -> None:
    with pytest.raises(SettingsError) as caught:
        config_from(
            PROMETHEUS_URL="nowhere",
            LOKI_URL="http://loki/push",
            LOKI_USERNAME="me",
            OPENQOE_MAX_EVENTS="-5",
            OPENQOE_FLUSH_INTERVAL="often",
            OPENQOE_EXTRA_LABELS="mood,view_id",
            CARDINALITY_LIMITS='{"env":{"action":"keep"}}',
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "invalid settings:"
    assert sorted(line.split()[1] for line in lines[1:]) == [
        "CARDINALITY_LIMITS",
        "LOKI_PASSWORD",
        "OPENQOE_EXTRA_LABELS",
        "OPENQOE_FLUSH_INTERVAL",
        "OPENQOE_MAX_EVENTS",
        "PROMETHEUS_URL",
    ]
    assert all(line.startswith("  - ") for line in lines[1:])


def test_config_built_in_code_is_validated() -> None:
    with pytest.raises(SettingsError) as caught:
        Config(max_events=0, max_series=0, mimir_url="http://m", mimir_password="p")
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "OPENQOE_MAX_EVENTS",
        "OPENQOE_MAX_SERIES",
        "MIMIR_USERNAME",
    ]


def test_blanks_and_newlines_around_values_are_removed() -> None:
    config = config_from(
        OPENQOE_TENANT=" team\n",
        LOKI_URL=" http://l\r\n",
        LOKI_USERNAME="me\n",
        LOKI_PASSWORD="\thush\n",
        API_KEY="a\n,b \n",
        OPENQOE_DATA_DIR="/data\n",
        OPENQOE_INSTANCE="i\n",
        OPENQOE_KV_PREFIX=" p\n",
    )
    assert config.tenant == "team"
    assert (config.loki_url, config.loki_username, config.loki_password) == (
        "http://l",
        "me",
        "hush",
    )
    assert config.api_keys == ("a", "b")
    assert (config.data_dir, config.instance, config.kv_prefix) == ("/data", "i", "p")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "a\nb"),
        ("tenant", "a\n"),
        ("loki_password", "a\x00b"),
        ("api_keys", ("a", "b\r\nc")),
        ("data_dir", "/data\n"),
    ],
)
def test_control_character_in_setting_is_a_fault(field: str, value: Any) -> None:
    settings: dict[str, Any] = {field: value}
    with pytest.raises(SettingsError, match="holds a newline or another control character"):
        Config(**settings)


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"OPENQOE_DESTINATION_HEADERS": '{"a b":"c"}'}, "is not the name of a header"),
        ({"OPENQOE_DESTINATION_HEADERS": '{"a":1}'}, "is not printable ASCII text"),
        ({"OPENQOE_DESTINATION_HEADERS": '{"a":"b\\nc"}'}, "is not printable ASCII text"),
        ({"OPENQOE_DESTINATION_HEADERS": '{"Host":"b"}'}, "which the worker sets itself"),
        ({"OPENQOE_DESTINATION_CLIENT_KEY": "k"}, "OPENQOE_DESTINATION_CLIENT_CERT is missing"),
        (
            {"LOKI_BEARER_TOKEN": "t", "LOKI_USERNAME": "u", "LOKI_PASSWORD": "p"},
            "LOKI_BEARER_TOKEN excludes LOKI_USERNAME",
        ),
        ({"MIMIR_BEARER_TOKEN": "é"}, "MIMIR_BEARER_TOKEN must be ASCII"),
    ],
)
def test_unusable_header_or_token_is_a_fault(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        config_from(**environment)


def test_tenant_that_no_header_can_hold_is_a_fault() -> None:
    with pytest.raises(SettingsError, match="OPENQOE_TENANT is no tenant"):
        config_from(LOKI_URL="http://l", OPENQOE_TENANT="équipe")
    with pytest.raises(SettingsError, match="GRAFANA_CLOUD_INSTANCE_ID must be ASCII"):
        config_from(
            GRAFANA_CLOUD_INSTANCE_ID="é", GRAFANA_CLOUD_API_KEY="k", GRAFANA_CLOUD_REGION="eu-1"
        )


def test_secrets_are_in_neither_repr_nor_errors() -> None:
    config = config_from(
        API_KEY="hush1",
        MIMIR_URL="http://m",
        MIMIR_USERNAME="me",
        MIMIR_PASSWORD="hush2",
        PROMETHEUS_PASSWORD="hush3",
        LOKI_URL="http://l",
        LOKI_USERNAME="me",
        LOKI_PASSWORD="hush4",
    )
    cloud = config_from(
        GRAFANA_CLOUD_INSTANCE_ID="1",
        GRAFANA_CLOUD_API_KEY="hush5",
        GRAFANA_CLOUD_REGION="us-central1",
    )
    for one in (config, cloud):
        shown = repr(one), repr(one.metrics_destinations), repr(one.logs_destinations)
        assert "hush" not in "".join(shown)
    with pytest.raises(SettingsError) as caught:
        config_from(
            MIMIR_URL="http://me:hush6@mimir/push", LOKI_URL="http://l", LOKI_PASSWORD="hush"
        )
    assert "hush" not in str(caught.value)


def test_config_is_immutable() -> None:
    with pytest.raises(AttributeError):
        Config().max_events = 5  # type: ignore[misc]
    assert Config() == Config()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"OPENQOE_DROP_FIELDS": "viewer_id"}, "DROP_FIELDS names viewer_id, which every event"),
        ({"OPENQOE_DROP_FIELDS": "a..b"}, "DROP_FIELDS holds 'a..b', which is not a path"),
        ({"OPENQOE_DROP_FIELDS": ","}, "DROP_FIELDS holds no value"),
        ({"OPENQOE_HASH_FIELDS": "org_id"}, "HASH_FIELDS names org_id, which cannot be hashed"),
        ({"OPENQOE_HASH_FIELDS": "ip"}, "HASH_FIELDS names ip, which OPENQOE_DROP_FIELDS removes"),
        ({"OPENQOE_HASH_KEY": "short"}, "HASH_KEY is shorter than 16 characters"),
        (
            {"OPENQOE_HASH_FIELDS": "viewer_id", "OPENQOE_DURABILITY": "memory"},
            "HASH_KEY is missing",
        ),
        (
            {"OPENQOE_HASH_FIELDS": "viewer_id", "OPENQOE_MAX_ID_LENGTH": "31"},
            "MAX_ID_LENGTH is below 32",
        ),
        ({"OPENQOE_LOG_SAMPLE": "1.5"}, "LOG_SAMPLE is not a number from 0 to 1"),
        ({"OPENQOE_LOG_SAMPLE": "nan"}, "LOG_SAMPLE is not a number from 0 to 1"),
    ],
)
def test_invalid_privacy_settings_are_named(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        config_from(**settings)
    (text,) = caught.value.faults
    assert text.startswith(f"OPENQOE_{fault}")

"""Notices at startup: destinations, and warnings about settings."""

from openqoe.core.api.startup_notices import collect_notices
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Notice

MIMIR = {"MIMIR_URL": "http://m/push"}
READ = {"OPENQOE_READ_KEY": "reader"}
LOKI = {"LOKI_URL": "http://l/push"}
CLOUD = {
    "GRAFANA_CLOUD_INSTANCE_ID": "42",
    "GRAFANA_CLOUD_API_KEY": "k",
    "GRAFANA_CLOUD_REGION": "us-central1",
}


def notices_for(environment: dict[str, str]) -> list[Notice]:
    return list(collect_notices(Config.from_environment(environment), environment))


OPEN_WORKER = "API_KEY is not set: every client that reaches this port can send events"


def test_destinations_are_listed_without_secrets() -> None:
    access = {"LOKI_USERNAME": "me", "LOKI_PASSWORD": "hush", "API_KEY": "hush", **READ}
    lines = notices_for(MIMIR | LOKI | access)
    assert lines == [
        Notice(
            "info", "destination", (("kind", "metrics"), ("destination", "mimir"), ("host", "m"))
        ),
        Notice("info", "destination", (("kind", "logs"), ("destination", "loki"), ("host", "l"))),
    ]


def test_derived_urls_give_warnings() -> None:
    lines = notices_for(CLOUD | {"API_KEY": "k"})
    derived = [line for line in lines if "derived" in line.event]
    assert [dict(line.fields)["url"] for line in derived] == [
        "https://prometheus-prod-01-us-central-0.grafana.net/api/prom/push",
        "https://logs-prod-us-central-0.grafana.net/loki/api/v1/push",
    ]
    assert {line.level for line in derived} == {"warning"}


def test_no_destination_and_no_key_give_warnings() -> None:
    goes_nowhere, is_open = notices_for({"OPENQOE_EMBEDDED": "off"})
    assert goes_nowhere.level == is_open.level == "warning"
    assert goes_nowhere.event.startswith("no destination is configured and OPENQOE_EMBEDDED is off")
    assert is_open.event == OPEN_WORKER


def test_open_dashboard_extends_the_warning_about_keys() -> None:
    assert notices_for({})[-1].event == f"{OPEN_WORKER} and open the dashboard"
    assert notices_for({"OPENQOE_DASHBOARD": "no"})[-1].event == OPEN_WORKER


def test_embedded_destinations_name_the_data_directory() -> None:
    lines = notices_for({"API_KEY": "k", **READ, "OPENQOE_DATA_DIR": "/var/lib/qoe"})
    assert [(line.level, dict(line.fields)) for line in lines] == [
        ("info", {"kind": kind, "destination": f"embedded_{kind}", "directory": "/var/lib/qoe"})
        for kind in ("metrics", "logs")
    ]


def test_durability_memory_gives_a_warning() -> None:
    lines = notices_for(MIMIR | {"API_KEY": "k", **READ, "OPENQOE_DURABILITY": "memory"})
    assert ("warning", "OPENQOE_DURABILITY is memory") in [
        (line.level, line.event.partition(":")[0]) for line in lines
    ]
    lines = notices_for(MIMIR | {"API_KEY": "k", **READ, "OPENQOE_DURABILITY": "normal"})
    assert {line.level for line in lines} == {"info"}


def test_unknown_settings_give_warnings() -> None:
    lines = notices_for(
        MIMIR | {"API_KEY": "k", **READ, "OPENQOE_FLUSH_INTERVALL": "1", "OPENQOE_X": "hush"}
    )
    assert [line.fields for line in lines[1:]] == [
        (("name", "OPENQOE_FLUSH_INTERVALL"),),
        (("name", "OPENQOE_X"),),
    ]
    assert {line.level for line in lines[1:]} == {"warning"}


def test_ingest_key_alone_gives_a_warning_that_names_the_read_key() -> None:
    (warning,) = (line for line in notices_for(MIMIR | {"API_KEY": "k"}) if line.level != "info")
    assert warning.level == "warning"
    assert warning.event.startswith("OPENQOE_READ_KEY is not set: API_KEY opens /stats")


def test_keys_file_gives_no_warning_about_keys() -> None:
    for settings in ({}, {"API_KEY": "k"}):
        lines = notices_for(MIMIR | settings | {"OPENQOE_KEYS_FILE": "/keys.json"})
        assert {line.level for line in lines} == {"info"}


def test_key_shared_by_pages_and_readers_gives_a_warning() -> None:
    lines = notices_for(MIMIR | {"API_KEY": "a,b", "OPENQOE_READ_KEY": "b"})
    assert lines[-1].event.startswith("API_KEY and OPENQOE_READ_KEY share a key")

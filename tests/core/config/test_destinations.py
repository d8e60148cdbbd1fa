"""Destinations derived from settings."""

from base64 import b64encode
from functools import partial

import pytest

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.destinations import EMBEDDED_LOGS, EMBEDDED_METRICS, Destination
from openqoe.core.config.worker_config import Config


def basic(text: str) -> tuple[str, str]:
    return ("Authorization", f"Basic {b64encode(text.encode()).decode()}")


MIMIR = {"MIMIR_URL": "http://m/push"}
PROMETHEUS = {"PROMETHEUS_URL": "http://p/write"}
LOKI = {"LOKI_URL": "http://l/push"}
CLOUD = {"GRAFANA_CLOUD_INSTANCE_ID": "42", "GRAFANA_CLOUD_API_KEY": "k"}
hosted = partial(Destination, has_tenants=True)
CLOUD_HEADERS = (basic("42:k"), ("X-Scope-OrgID", "42"))
CENTRAL = "https://prometheus-prod-01-us-central-0.grafana.net/api/prom/push"
CENTRAL_LOGS = "https://logs-prod-us-central-0.grafana.net/loki/api/v1/push"


@pytest.mark.parametrize(
    ("environment", "metrics", "logs"),
    [
        ({}, None, None),
        (MIMIR, hosted("mimir", "http://m/push"), None),
        (PROMETHEUS, hosted("prometheus", "http://p/write"), None),
        (MIMIR | PROMETHEUS, hosted("mimir", "http://m/push"), None),
        (LOKI, None, hosted("loki", "http://l/push")),
        (
            PROMETHEUS | LOKI,
            hosted("prometheus", "http://p/write"),
            hosted("loki", "http://l/push"),
        ),
        (
            LOKI
            | {
                "LOKI_BEARER_TOKEN": "t",
                "OPENQOE_TENANT": "team",
                "OPENQOE_DESTINATION_HEADERS": '{"X-Gateway-Key":"k"}',
            },
            None,
            hosted(
                "loki",
                "http://l/push",
                (
                    ("Authorization", "Bearer t"),
                    ("X-Scope-OrgID", "team"),
                    ("X-Gateway-Key", "k"),
                ),
            ),
        ),
        # Credentials
        (
            MIMIR | {"MIMIR_USERNAME": "me", "MIMIR_PASSWORD": "pass:word"},
            hosted("mimir", "http://m/push", (basic("me:pass:word"),)),
            None,
        ),
        (
            MIMIR | {"PROMETHEUS_USERNAME": "me", "PROMETHEUS_PASSWORD": "é"},
            hosted("mimir", "http://m/push", (basic("me:é"),)),
            None,
        ),
        (
            MIMIR
            | {"MIMIR_USERNAME": "m", "MIMIR_PASSWORD": "1"}
            | {"PROMETHEUS_USERNAME": "p", "PROMETHEUS_PASSWORD": "2"},
            hosted("mimir", "http://m/push", (basic("m:1"),)),
            None,
        ),
        (
            PROMETHEUS
            | {"PROMETHEUS_USERNAME": "p", "PROMETHEUS_PASSWORD": "2"}
            | {"MIMIR_USERNAME": "m", "MIMIR_PASSWORD": "1"},
            hosted("prometheus", "http://p/write", (basic("p:2"),)),
            None,
        ),
        (
            PROMETHEUS | LOKI | {"LOKI_USERNAME": "l", "LOKI_PASSWORD": "3"},
            hosted("prometheus", "http://p/write"),
            hosted("loki", "http://l/push", (basic("l:3"),)),
        ),
        # Tenant
        (
            MIMIR | LOKI | {"OPENQOE_TENANT": "team", "LOKI_USERNAME": "l", "LOKI_PASSWORD": "3"},
            hosted("mimir", "http://m/push", (("X-Scope-OrgID", "team"),)),
            hosted("loki", "http://l/push", (basic("l:3"), ("X-Scope-OrgID", "team"))),
        ),
        # Grafana Cloud
        (
            CLOUD | {"GRAFANA_CLOUD_REGION": "us-central1"},
            Destination("grafana_cloud_metrics", CENTRAL, CLOUD_HEADERS, True),
            Destination("grafana_cloud_logs", CENTRAL_LOGS, CLOUD_HEADERS, True),
        ),
        (
            CLOUD
            | {"GRAFANA_CLOUD_METRICS_URL": "https://m", "GRAFANA_CLOUD_LOGS_URL": "https://l"},
            Destination("grafana_cloud_metrics", "https://m", CLOUD_HEADERS, False),
            Destination("grafana_cloud_logs", "https://l", CLOUD_HEADERS, False),
        ),
        (
            CLOUD
            | {"GRAFANA_CLOUD_METRICS_URL": "https://m", "GRAFANA_CLOUD_REGION": "us-central1"},
            Destination("grafana_cloud_metrics", "https://m", CLOUD_HEADERS, False),
            Destination("grafana_cloud_logs", CENTRAL_LOGS, CLOUD_HEADERS, True),
        ),
        # Grafana Cloud takes precedence over self-hosted servers and their tenant
        (
            MIMIR | LOKI | CLOUD | {"GRAFANA_CLOUD_REGION": "us-central1", "OPENQOE_TENANT": "x"},
            Destination("grafana_cloud_metrics", CENTRAL, CLOUD_HEADERS, True),
            Destination("grafana_cloud_logs", CENTRAL_LOGS, CLOUD_HEADERS, True),
        ),
    ],
)
def test_settings_select_the_destinations(
    environment: dict[str, str], metrics: Destination | None, logs: Destination | None
) -> None:
    config = Config.from_environment(environment)
    found = metrics, logs
    given = (config.metrics_destinations, config.logs_destinations)
    if found == (None, None):
        assert given == ((EMBEDDED_METRICS,), (EMBEDDED_LOGS,))
    else:
        assert given == tuple(() if one is None else (one,) for one in found)


@pytest.mark.parametrize(
    ("region", "cluster"),
    [
        ("us-central1", "us-central-0"),
        ("eu-west2", "eu-west-0"),
        ("us-central", "us-central-0"),
        ("us-central-0", "us-central-0"),
        ("eu-west-3", "eu-west-3"),
    ],
)
def test_region_is_mapped_to_its_first_cluster(region: str, cluster: str) -> None:
    config = Config.from_environment(CLOUD | {"GRAFANA_CLOUD_REGION": region})
    (logs,) = config.logs_destinations
    assert logs.url == f"https://logs-prod-{cluster}.grafana.net/loki/api/v1/push"


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({"GRAFANA_CLOUD_REGION": "eu"}, ["GRAFANA_CLOUD_INSTANCE_ID", "GRAFANA_CLOUD_API_KEY"]),
        (
            {"GRAFANA_CLOUD_API_KEY": "k", "GRAFANA_CLOUD_METRICS_URL": "https://m"},
            ["GRAFANA_CLOUD_INSTANCE_ID", "GRAFANA_CLOUD_LOGS_URL"],
        ),
        (CLOUD, ["GRAFANA_CLOUD_METRICS_URL", "GRAFANA_CLOUD_LOGS_URL"]),
        (CLOUD | MIMIR, ["GRAFANA_CLOUD_METRICS_URL", "GRAFANA_CLOUD_LOGS_URL"]),
        (MIMIR | {"MIMIR_USERNAME": "m"}, ["MIMIR_PASSWORD"]),
        (MIMIR | {"MIMIR_PASSWORD": "m"}, ["MIMIR_USERNAME"]),
        (PROMETHEUS | {"PROMETHEUS_USERNAME": "m"}, ["PROMETHEUS_PASSWORD"]),
        (
            PROMETHEUS | LOKI | {"LOKI_PASSWORD": "l", "PROMETHEUS_PASSWORD": "p"},
            ["PROMETHEUS_USERNAME", "LOKI_USERNAME"],
        ),
    ],
)
def test_incomplete_destination_names_missing_settings(
    environment: dict[str, str], missing: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Config.from_environment(environment)
    assert [fault.split(" is missing")[0] for fault in caught.value.faults] == missing


@pytest.mark.parametrize(
    ("environment", "metrics", "logs"),
    [
        ({}, ["embedded_metrics"], ["embedded_logs"]),
        ({"OPENQOE_EMBEDDED": "off"}, [], []),
        (LOKI, [], ["loki"]),
        (LOKI | {"OPENQOE_EMBEDDED": "on"}, ["embedded_metrics"], ["loki", "embedded_logs"]),
        (
            MIMIR | LOKI | {"OPENQOE_EMBEDDED": "on"},
            ["mimir", "embedded_metrics"],
            ["loki", "embedded_logs"],
        ),
    ],
)
def test_embedded_store_is_alone_or_beside_others(
    environment: dict[str, str], metrics: list[str], logs: list[str]
) -> None:
    config = Config.from_environment(environment)
    assert [one.name for one in config.metrics_destinations] == metrics
    assert [one.name for one in config.logs_destinations] == logs
    assert config.is_embedded == ("embedded_metrics" in metrics)
    assert config.has_dashboard == config.is_embedded


@pytest.mark.parametrize("tenant", ["a|b", "a b", "a/b", "..", "x" * 151, "a\nb"])
def test_invalid_tenant_stops_start(tenant: str) -> None:
    with pytest.raises(SettingsError, match="OPENQOE_TENANT is no tenant"):
        Config(loki_url="http://l/loki/api/v1/push", tenant=tenant)


@pytest.mark.parametrize(
    ("settings", "tenant"),
    [
        ({}, None),
        ({"OPENQOE_TENANT": "team"}, "team"),
        ({"OPENQOE_TENANT": "{org_id}"}, "openqoe"),
        ({"OPENQOE_TENANT": "qoe-{org_id}", "OPENQOE_DEFAULT_TENANT": "all"}, "all"),
    ],
)
def test_requests_without_an_organisation_name_the_default_tenant(
    settings: dict[str, str], tenant: str | None
) -> None:
    config = Config.from_environment({"MIMIR_URL": "http://mimir/api/v1/push", **settings})
    (destination,) = config.metrics_destinations
    assert dict(destination.headers).get("X-Scope-OrgID") == tenant
    other = destination.for_tenant("acme")
    assert other.name == "mimir/acme"
    assert [value for name, value in other.headers if name == "X-Scope-OrgID"] == ["acme"]

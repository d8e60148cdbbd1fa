"""The examples of deploy/env, unchanged and with every commented-out line enabled."""

import base64
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.deploy.deploy_files import DEPLOY, load_config

FOLDER = DEPLOY / "env"
SELF_HOSTED = FOLDER / "self-hosted.env.example"
GRAFANA_CLOUD = FOLDER / "grafana-cloud.env.example"


def variables(file: Path) -> dict[str, str]:
    values = dotenv_values(file, interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def commented(file: Path) -> dict[str, str]:
    lines = re.findall(r"^#([A-Z_]+)=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(lines)


def test_self_hosted_example_sends_to_mimir_and_loki() -> None:
    config = load_config(variables(SELF_HOSTED))
    (metrics,), (logs,) = config.metrics_destinations, config.logs_destinations
    assert (metrics.name, metrics.url) == ("mimir", "http://mimir.internal:9009/api/v1/push")
    assert (logs.name, logs.url) == ("loki", "http://loki.internal:3100/loki/api/v1/push")
    assert metrics.headers == logs.headers == ()
    assert config.api_keys


def test_self_hosted_example_can_send_to_prometheus() -> None:
    chosen = variables(SELF_HOSTED) | {"PROMETHEUS_URL": commented(SELF_HOSTED)["PROMETHEUS_URL"]}
    del chosen["MIMIR_URL"]
    (metrics,) = load_config(chosen).metrics_destinations
    assert (metrics.name, metrics.url) == (
        "prometheus",
        "http://prometheus.internal:9090/api/v1/write",
    )


def test_grafana_cloud_example_sends_to_given_urls() -> None:
    chosen = variables(GRAFANA_CLOUD)
    config = load_config(chosen)
    (metrics,), (logs,) = config.metrics_destinations, config.logs_destinations
    assert metrics.url == chosen["GRAFANA_CLOUD_METRICS_URL"]
    assert logs.url == chosen["GRAFANA_CLOUD_LOGS_URL"]
    assert not metrics.is_url_derived
    credentials = base64.b64encode(b"123456:glc_change-me").decode()
    for destination in (metrics, logs):
        headers = {name.lower(): value for name, value in destination.headers}
        assert headers["authorization"] == f"Basic {credentials}"


def test_grafana_cloud_example_uses_one_instance_id_per_destination() -> None:
    chosen = {
        name: value
        for name, value in commented(GRAFANA_CLOUD).items()
        if name.startswith(("MIMIR_", "LOKI_"))
    }
    config = load_config(chosen)
    (metrics,), (logs,) = config.metrics_destinations, config.logs_destinations
    assert metrics.headers != logs.headers


@pytest.mark.parametrize("file", [SELF_HOSTED, GRAFANA_CLOUD], ids=lambda file: file.name)
def test_commented_out_settings_are_valid(file: Path) -> None:
    assert len(commented(file)) >= 15
    config = load_config(commented(file) | variables(file))
    assert config.kv_url.startswith("rediss://")


@pytest.mark.parametrize("file", [SELF_HOSTED, GRAFANA_CLOUD], ids=lambda file: file.name)
def test_env_files_have_no_quoted_values(file: Path) -> None:
    """Docker and systemd keep quotes as part of the value."""
    for name, value in (commented(file) | variables(file)).items():
        assert value == value.strip(" \"'"), name

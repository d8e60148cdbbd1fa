"""deploy/compose.yaml, parsed by the real docker compose."""

import json
from pathlib import Path
from typing import Any

import pytest

from openqoe.shells.service.supervisor import GRACE
from tests.deploy.deploy_files import DEPLOY, assert_accepts, load_config, load_yaml, run_tool

BASE = ["--file", "compose.yaml"]
WITH_PROMETHEUS = [*BASE, "--file", "compose.prometheus.yaml"]

Project = dict[str, Any]


def resolved(*arguments: str, **environment: str) -> Project:
    """The project that `docker compose config` prints."""
    run = run_tool("docker-compose", *arguments, "config", "--format", "json", **environment)
    assert (run.returncode, run.stderr) == (0, "")
    project: Project = json.loads(run.stdout)
    return project


@pytest.fixture(scope="module")
def project() -> Project:
    return resolved(*BASE, "--profile", "*")


@pytest.fixture(scope="module")
def prometheus() -> Project:
    return resolved(*WITH_PROMETHEUS)


def settings(name: str) -> dict[str, Any]:
    (loaded,) = load_yaml(DEPLOY / "compose" / name)
    return loaded


def test_compose_refuses_unknown_keys(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {worker: {image: worker, read-only: true}}")
    assert run_tool("docker-compose", "--file", str(file), "config", "--quiet").returncode != 0


def test_default_profile_starts_expected_services() -> None:
    assert set(resolved(*BASE)["services"]) == {"worker", "mimir", "loki", "grafana"}


def test_redis_starts_only_with_its_profile() -> None:
    url = "redis://redis:6379/0"
    project = resolved(*BASE, "--profile", "redis", OPENQOE_KV_URL=url)
    assert project["services"]["worker"]["environment"]["OPENQOE_KV_URL"] == url
    command = project["services"]["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_prometheus_variant_replaces_mimir(prometheus: Project) -> None:
    assert set(prometheus["services"]) == {"worker", "prometheus", "loki", "grafana"}
    config = load_config(prometheus["services"]["worker"]["environment"])
    (metrics,) = config.metrics_destinations
    assert metrics.url == "http://prometheus:9090/api/v1/write"
    assert "--web.enable-remote-write-receiver" in prometheus["services"]["prometheus"]["command"]
    assert "mimir" not in prometheus["volumes"]


def test_worker_accepts_its_settings_and_arguments(project: Project) -> None:
    worker = project["services"]["worker"]
    config = load_config(worker["environment"])
    (metrics,), (logs,) = config.metrics_destinations, config.logs_destinations
    mimir = settings("mimir.yaml")["server"]["http_listen_port"]
    loki = settings("loki.yaml")["server"]["http_listen_port"]
    assert metrics.url == f"http://mimir:{mimir}/api/v1/push"
    assert logs.url == f"http://loki:{loki}/loki/api/v1/push"
    assert config.api_keys == ()
    assert_accepts(worker["command"])
    assert float(worker["stop_grace_period"].rstrip("s")) > config.shutdown_timeout / 1000 + GRACE


def test_api_keys_come_from_environment() -> None:
    worker = resolved(*BASE, API_KEY="k-1,k-2")["services"]["worker"]
    assert load_config(worker["environment"]).api_keys == ("k-1", "k-2")


def test_every_image_has_pinned_version(project: Project, prometheus: Project) -> None:
    for name, service in {**project["services"], **prometheus["services"]}.items():
        _, _, tag = service["image"].partition(":")
        assert tag == "local" if name == "worker" else tag[:1].isdigit() or tag[:1] == "v", name


def test_mounted_files_exist(project: Project, prometheus: Project) -> None:
    for service in (*project["services"].values(), *prometheus["services"].values()):
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume["source"]
                assert volume["read_only"]


def test_services_drop_privileges(project: Project, prometheus: Project) -> None:
    for service in (*project["services"].values(), *prometheus["services"].values()):
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"
    assert project["services"]["worker"]["read_only"] is True


def test_stateful_services_use_volumes(project: Project, prometheus: Project) -> None:
    for name in ("worker", "mimir", "loki", "grafana", "redis"):
        kinds = {volume["type"] for volume in project["services"][name]["volumes"]}
        assert "volume" in kinds, name
    assert {"prometheus"} <= set(prometheus["volumes"])


def test_grafana_datasources_point_to_receivers(project: Project, prometheus: Project) -> None:
    (sources,) = load_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "openqoe.yaml")
    urls = {source["url"].removeprefix("$") for source in sources["datasources"]}
    with_mimir = project["services"]["grafana"]["environment"]
    assert urls <= set(with_mimir)
    assert with_mimir["OPENQOE_PROMETHEUS_QUERY_URL"] == "http://mimir:9009/prometheus"
    instead = prometheus["services"]["grafana"]["environment"]
    assert instead["OPENQOE_PROMETHEUS_QUERY_URL"] == "http://prometheus:9090"
    (providers,) = load_yaml(DEPLOY / "grafana" / "provisioning" / "dashboards" / "openqoe.yaml")
    mounted = {volume["target"] for volume in project["services"]["grafana"]["volumes"]}
    assert {provider["options"]["path"] for provider in providers["providers"]} <= mounted


def test_receivers_accept_late_samples_and_large_pushes() -> None:
    config = load_config({})
    hours = config.outbox_max_age / 3_600_000
    mimir, loki = settings("mimir.yaml")["limits"], settings("loki.yaml")["limits_config"]
    assert float(mimir["out_of_order_time_window"].rstrip("h")) >= hours
    assert float(loki["reject_old_samples_max_age"].rstrip("d")) * 24 >= hours
    (prometheus,) = load_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    tsdb = prometheus["storage"]["tsdb"]
    assert float(tsdb["out_of_order_time_window"].rstrip("h")) >= hours
    assert mimir["max_global_series_per_user"] >= 2 * config.max_series
    assert mimir["ingestion_burst_size"] >= config.max_series
    assert loki["allow_structured_metadata"] is True
    assert settings("loki.yaml")["schema_config"]["configs"][-1]["schema"] == "v13"


def test_loki_keeps_chunks_in_its_volume_with_either_storage_client() -> None:
    """Newer versions write to `object_store.filesystem.dir`, by default the working directory."""
    loki = settings("loki.yaml")
    chunks = loki["common"]["storage"]["filesystem"]["chunks_directory"]
    assert loki["storage_config"]["object_store"]["filesystem"]["dir"] == chunks
    assert chunks.startswith(loki["common"]["path_prefix"] + "/")

"""The manifests of deploy/kubernetes: valid for Kubernetes' schemas, and consistent."""

import os
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.version import VERSION
from tests.deploy.deploy_files import DEPLOY, assert_accepts, load_config, load_yaml
from tests.support.event_builders import batch, event
from tests.support.loki_double import LokiDouble
from tests.support.redis_server import Redis
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.worker_process import WorkerProcess

FOLDER = DEPLOY / "kubernetes"
OLDEST = "1.31"
"""The oldest supported Kubernetes; the newest is that of the newest available schema."""

Manifest = dict[str, Any]


def built(folder: Path) -> list[Manifest]:
    """The resources of a folder in their namespace, as `kubectl kustomize` builds them."""
    (kustomization,) = load_yaml(folder / "kustomization.yaml")
    assert set(kustomization) <= {"apiVersion", "kind", "namespace", "resources"}
    found: list[Manifest] = []
    for resource in kustomization["resources"]:
        path = folder / resource
        found += built(path) if path.is_dir() else load_yaml(path)
    for manifest in found:
        if manifest["kind"] != "Namespace" and "namespace" in kustomization:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
    return found


def only(manifests: list[Manifest], kind: str, name: str = "openqoe") -> Manifest:
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


RECOMMENDED = built(FOLDER)
DEPLOYMENT = built(FOLDER / "deployment")
SECRETS = load_yaml(FOLDER / "secret.example.yaml")
(DRAIN,) = load_yaml(FOLDER / "drain-job.yaml")

STATEFUL_SET = only(RECOMMENDED, "StatefulSet")
FORMS = {"statefulset": RECOMMENDED, "deployment": DEPLOYMENT}
WORKLOADS = {
    "statefulset": STATEFUL_SET,
    "deployment": only(DEPLOYMENT, "Deployment"),
    "drain": DRAIN,
    "redis": only(RECOMMENDED, "StatefulSet", "openqoe-redis"),
}


def all_files() -> list[Path]:
    return [file for file in sorted(FOLDER.rglob("*.yaml")) if file.name != "kustomization.yaml"]


def pod(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> Manifest:
    (one,) = pod(workload)["containers"]
    assert isinstance(one, dict)
    return one


def environment(workload: Manifest) -> dict[str, str]:
    """The environment variables of its container."""
    sources = [only(RECOMMENDED, "ConfigMap")["data"], SECRETS[0]["stringData"]]
    variables = {name: value for source in sources for name, value in source.items()}
    for variable in container(workload)["env"]:
        variables[variable["name"]] = variable.get("value", "openqoe-2")
    return variables


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", all_files(), ids=lambda file: file.stem)
def test_manifest_is_valid(file: Path, version: str) -> None:
    for manifest in load_yaml(file):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_misspelt_manifest_field_is_refused() -> None:
    wrong = deepcopy(STATEFUL_SET)
    pod(wrong)["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="enableServiceLink"):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_every_manifest_is_applied_by_kustomize_or_by_hand() -> None:
    names = {(m["kind"], m["metadata"]["name"]) for m in (*RECOMMENDED, *DEPLOYMENT)}
    by_hand = {"secret.example.yaml", "ingress.example.yaml", "drain-job.yaml"}
    for file in all_files():
        for manifest in load_yaml(file):
            applied = (manifest["kind"], manifest["metadata"]["name"]) in names
            assert applied != (file.name in by_hand), file


@pytest.mark.parametrize("form", FORMS)
def test_references_between_resources_resolve(form: str) -> None:
    manifests, workload = FORMS[form], WORKLOADS[form]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container(workload)["ports"]}
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["metadata"]["name"].startswith("openqoe-redis"):
            continue
        match manifest["kind"]:
            case "Service":
                assert spec["selector"].items() <= labels.items()
                assert {port["targetPort"] for port in spec["ports"]} <= ports
            case "PodDisruptionBudget":
                assert spec["selector"]["matchLabels"].items() <= labels.items()
            case "NetworkPolicy":
                assert spec["podSelector"]["matchLabels"].items() <= labels.items()
                assert {rule["ports"][0]["port"] for rule in spec["ingress"]} <= ports
            case "HorizontalPodAutoscaler":
                target = spec["scaleTargetRef"]
                assert only(manifests, target["kind"], target["name"]) is workload
                assert target["apiVersion"] == workload["apiVersion"]
    only(manifests, "ServiceAccount", pod(workload)["serviceAccountName"])


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_pod_references_resolve(workload: Manifest) -> None:
    one = container(workload)
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in SECRETS}
    for source in one.get("envFrom", []):
        if "secretRef" in source:
            assert source["secretRef"]["name"] in secrets
        else:
            only(RECOMMENDED, "ConfigMap", source["configMapRef"]["name"])
    for variable in one.get("env", []):
        if key := variable.get("valueFrom", {}).get("secretKeyRef"):
            assert key["key"] in secrets[key["name"]]
    volumes = {volume["name"] for volume in pod(workload).get("volumes", [])}
    volumes |= {
        claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])
    }
    assert {mount["name"] for mount in one["volumeMounts"]} == volumes
    ports = {port["name"] for port in one.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = one.get(probe, {})
        asked = asked.get("httpGet") or asked.get("tcpSocket")
        assert asked is None or asked["port"] in ports


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_pod_meets_restricted_standard(workload: Manifest) -> None:
    spec, one = pod(workload), container(workload)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert one["resources"]["limits"]["memory"]
    assert not one["image"].endswith(":latest")


@pytest.mark.parametrize("name", ["statefulset", "deployment", "drain"])
def test_worker_accepts_its_settings_and_arguments(name: str) -> None:
    workload = WORKLOADS[name]
    config = load_config(environment(workload))
    assert config.metrics_destinations
    assert config.logs_destinations
    assert config.kv_url == SECRETS[0]["stringData"]["OPENQOE_KV_URL"]
    assert config.api_keys
    assert config.durability == {"deployment": "normal"}.get(name, "full")
    mounts = {mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert config.data_dir in mounts
    assert_accepts(container(workload)["args"])


@pytest.mark.parametrize("name", ["statefulset", "deployment", "drain"])
def test_image_tag_equals_package_version(name: str) -> None:
    assert container(WORKLOADS[name])["image"].endswith(f":{VERSION}")


@pytest.mark.parametrize("name", ["statefulset", "deployment"])
def test_pod_grace_period_exceeds_shutdown_timeout(name: str) -> None:
    spec, one = pod(WORKLOADS[name]), container(WORKLOADS[name])
    pause = int(one["lifecycle"]["preStop"]["exec"]["command"][1])
    shutdown = Config.from_environment(environment(WORKLOADS[name])).shutdown_timeout / 1000
    assert spec["terminationGracePeriodSeconds"] >= pause + shutdown + 10


def test_statefulset_and_deployment_differ_only_in_storage() -> None:
    pods = [deepcopy(pod(WORKLOADS[name])) for name in ("statefulset", "deployment")]
    for spec in pods:
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != "data"]
        (one,) = spec["containers"]
        one["env"] = [v for v in one["env"] if v["name"] != "OPENQOE_DURABILITY"]
    assert pods[0] == pods[1]


def test_ingress_exposes_only_public_paths() -> None:
    (ingress,) = load_yaml(FOLDER / "ingress.example.yaml")
    service = only(RECOMMENDED, "Service", "openqoe")
    ports = {port["name"] for port in service["spec"]["ports"]}
    (rule,) = ingress["spec"]["rules"]
    for path in rule["http"]["paths"]:
        assert path["path"].endswith(("/events", "/cmcd", "/health"))
        assert path["pathType"] == "Exact"
        assert path["backend"]["service"]["name"] == service["metadata"]["name"]
        assert path["backend"]["service"]["port"]["name"] in ports
    assert ingress["metadata"]["namespace"] == service["metadata"]["namespace"]


def test_drain_job_uses_image_volume_and_name_of_pod() -> None:
    (volume, _) = pod(DRAIN)["volumes"]
    claim = volume["persistentVolumeClaim"]["claimName"]
    (template,) = STATEFUL_SET["spec"]["volumeClaimTemplates"]
    instance = environment(DRAIN)["OPENQOE_INSTANCE"]
    assert claim == f"{template['metadata']['name']}-{instance}"
    assert instance == f"{STATEFUL_SET['metadata']['name']}-2"
    assert container(DRAIN)["image"] == container(STATEFUL_SET)["image"]
    assert pod(DRAIN)["securityContext"] == pod(STATEFUL_SET)["securityContext"]


def test_drain_job_delivers_data_left_on_volume(tmp_path: Path) -> None:
    """After a scale-down during an outage, the series of the removed pod get their last samples."""
    with RemoteWriteDouble() as metrics, LokiDouble() as logs, Redis() as redis:
        there = {
            "MIMIR_URL": metrics.write_url,
            "LOKI_URL": logs.push_url,
            "OPENQOE_KV_URL": redis.url,
            "OPENQOE_DATA_DIR": str(tmp_path),
        }
        metrics.fail_with(503, times=None)
        logs.fail_with(503, times=None)
        with WorkerProcess(environment(STATEFUL_SET) | there) as one:
            now = int(time.time() * 1000)
            body, key = batch(event("viewstart", at=now)), SECRETS[0]["stringData"]["API_KEY"]
            assert one.post(body, Authorization=key)[0] == 202
            one.kill()
        metrics.clear_faults()
        logs.clear_faults()
        job = subprocess.run(
            [sys.executable, "-m", "openqoe.shells", *container(DRAIN)["args"]],
            env={"PATH": os.environ["PATH"]} | environment(DRAIN) | there,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert job.returncode == 0, job.stderr
        assert metrics.last("openqoe_views_loaded_total", instance="openqoe-2-0") == 1
        assert metrics.violations == []
        assert len(logs.entries()) == 1


def test_redis_uses_password_of_worker_url_and_never_evicts() -> None:
    password = SECRETS[1]["stringData"]["REDIS_PASSWORD"]
    service = only(RECOMMENDED, "Service", "openqoe-redis")
    url = f"redis://:{password}@openqoe-redis:{service['spec']['ports'][0]['port']}/0"
    assert SECRETS[0]["stringData"]["OPENQOE_KV_URL"] == url
    arguments = container(WORKLOADS["redis"])["args"]
    assert arguments[arguments.index("--maxmemory-policy") + 1] == "noeviction"

"""Destinations: where metrics and logs go, and how that follows from the settings.

Any Grafana Cloud setting selects Grafana Cloud; else any URL selects self-hosted
servers. Without either there is the embedded store, which can also stand beside them.
"""

import re
from base64 import b64encode
from dataclasses import dataclass, field

Access = tuple[str | None, str | None, str | None]
Faults = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """A server that takes remote-write or Loki push requests.

    Attributes:
        name: As in metrics and logs ("mimir", "loki"). No two destinations share one.
        url: The push endpoint.
        headers: Credentials and tenant.
        derived: Whether the URL was guessed from a region rather than given.
    """

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    derived: bool = False

    @property
    def is_embedded(self) -> bool:
        """Whether it is the embedded store."""
        return self.url.startswith(EMBEDDED)


EMBEDDED = "embedded:"
"""The scheme of the embedded store: its requests go to no network, the shell carries them to the
store in its own process."""

EMBEDDED_METRICS = Destination("embedded_metrics", EMBEDDED + "metrics")
EMBEDDED_LOGS = Destination("embedded_logs", EMBEDDED + "logs")


def self_hosted_destinations(
    *, mimir: Access, prometheus: Access, loki: Access, tenant: str | None
) -> tuple[Destination | None, Destination | None, Faults]:
    """Destinations from URLs; each access is (URL, user name, password)."""
    faults: list[str] = []
    for prefix, (url, username, password) in (
        ("MIMIR", mimir),
        ("PROMETHEUS", prometheus),
        ("LOKI", loki),
    ):
        if url and (username is None) != (password is None):
            missing = "PASSWORD" if password is None else "USERNAME"
            faults.append(f"{prefix}_{missing} is missing: user name and password go together")
    tenant_header = (("X-Scope-OrgID", tenant),) if tenant else ()

    def destination(name: str, url: str | None, *access: Access) -> Destination | None:
        if url is None:
            return None
        for _, username, password in access:
            if username is not None and password is not None:
                return Destination(name, url, (*_basic(username, password), *tenant_header))
        return Destination(name, url, tenant_header)

    metrics = destination("mimir", mimir[0], mimir, prometheus) or destination(
        "prometheus", prometheus[0], prometheus
    )
    return metrics, destination("loki", loki[0], loki), tuple(faults)


def grafana_cloud_destinations(
    instance_id: str | None,
    api_key: str | None,
    region: str | None,
    metrics_url: str | None,
    logs_url: str | None,
) -> tuple[Destination | None, Destination | None, Faults]:
    """Destinations of a Grafana Cloud stack; explicit URLs win over the region's."""
    faults: list[str] = []
    for name, value in (
        ("GRAFANA_CLOUD_INSTANCE_ID", instance_id),
        ("GRAFANA_CLOUD_API_KEY", api_key),
    ):
        if not value:
            faults.append(f"{name} is missing: Grafana Cloud needs the instance id and the API key")
    if not region:
        for name, value in (
            ("GRAFANA_CLOUD_METRICS_URL", metrics_url),
            ("GRAFANA_CLOUD_LOGS_URL", logs_url),
        ):
            if not value:
                faults.append(f"{name} is missing: give it, or GRAFANA_CLOUD_REGION")
    if faults:
        return None, None, tuple(faults)
    assert instance_id is not None and api_key is not None
    headers = (*_basic(instance_id, api_key), ("X-Scope-OrgID", instance_id))
    cluster = _cluster(region or "")
    return (
        Destination(
            "grafana_cloud_metrics",
            metrics_url or f"https://prometheus-prod-01-{cluster}.grafana.net/api/prom/push",
            headers,
            derived=metrics_url is None,
        ),
        Destination(
            "grafana_cloud_logs",
            logs_url or f"https://logs-prod-{cluster}.grafana.net/loki/api/v1/push",
            headers,
            derived=logs_url is None,
        ),
        (),
    )


def _cluster(region: str) -> str:
    """The first cluster of a region: us-central1 is us-central-0."""
    return region if re.search(r"-\d+$", region) else re.sub(r"\d+$", "", region) + "-0"


def _basic(username: str, password: str) -> tuple[tuple[str, str], ...]:
    credentials = b64encode(f"{username}:{password}".encode()).decode()
    return (("Authorization", f"Basic {credentials}"),)

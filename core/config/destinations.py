"""Destinations of metrics and logs, derived from the settings.

Any Grafana Cloud setting selects Grafana Cloud, else any URL selects self-hosted servers. The
embedded store is used when neither is configured, or beside them.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple


class ServerSettings(NamedTuple):
    """The settings of one server; None for those that are not set."""

    url: str | None = None
    username: str | None = None
    password: str | None = None
    token: str | None = None


Faults = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """A server that accepts remote-write or Loki push requests.

    Attributes:
        name: Unique name, used in metrics and log lines ("mimir", "loki").
        url: The push endpoint.
        headers: Authorization and tenant; not in the ``repr``.
        is_url_derived: Whether the URL was derived from a region instead of configured.
        has_tenants: Whether each of its tenants gets requests of its own.
    """

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    is_url_derived: bool = False
    has_tenants: bool = False

    @property
    def is_embedded(self) -> bool:
        """Whether it is the embedded store."""
        return self.url.startswith(EMBEDDED)

    def for_tenant(self, tenant: str) -> "Destination":
        """Return the destination for another tenant than the default one."""
        others = (pair for pair in self.headers if pair[0].lower() != TENANT_HEADER.lower())
        name = tenant_destination(self.name, tenant)
        return replace(self, name=name, headers=(*others, (TENANT_HEADER, tenant)))


TENANT_HEADER: Final = "X-Scope-OrgID"


def tenant_destination(name: str, tenant: str) -> str:
    """Return the name of a destination for a tenant ("mimir/acme"); "" is the default tenant."""
    return f"{name}/{tenant}" if tenant else name


def split_destination(name: str) -> tuple[str, str]:
    """Return the destination and the tenant of such a name."""
    name, _, tenant = name.partition("/")  # which no tenant may contain
    return name, tenant


def usable_destinations(
    destinations: Iterable[Destination], *, embedded: bool
) -> tuple[Destination, ...]:
    """Return the destinations that a shell with or without an embedded store can reach."""
    return tuple(one for one in destinations if embedded or not one.is_embedded)


EMBEDDED = "embedded:"
"""URL scheme of the embedded store; the shell passes its requests to a store in the process."""

EMBEDDED_METRICS = Destination("embedded_metrics", EMBEDDED + "metrics")
EMBEDDED_LOGS = Destination("embedded_logs", EMBEDDED + "logs")
EMBEDDED_VIEWS = Destination("embedded_views", EMBEDDED + "views")


def self_hosted_destinations(
    *,
    mimir: ServerSettings,
    prometheus: ServerSettings,
    loki: ServerSettings,
    tenant: str | None,
    headers: Mapping[str, str],
) -> tuple[Destination | None, Destination | None, Faults]:
    """Return the destinations of metrics and logs of self-hosted servers, and the faults."""
    faults: list[str] = []
    for prefix, server in (("MIMIR", mimir), ("PROMETHEUS", prometheus), ("LOKI", loki)):
        has_user, has_password = server.username is not None, server.password is not None
        if server.url and has_user != has_password:
            missing = "PASSWORD" if has_user else "USERNAME"
            faults.append(f"{prefix}_{missing} is missing: set both user name and password")
        if server.token is not None and has_user:
            faults.append(f"{prefix}_BEARER_TOKEN excludes {prefix}_USERNAME: set one of them")
        if server.token is not None and not server.token.isascii():
            faults.append(f"{prefix}_BEARER_TOKEN must be ASCII: it is sent as a header")
    more = (*(((TENANT_HEADER, tenant),) if tenant else ()), *headers.items())

    def destination(name: str, url: str | None, *access: ServerSettings) -> Destination | None:
        if url is None:
            return None
        for server in access:
            if server.token is not None:
                bearer = (("Authorization", f"Bearer {server.token}"), *more)
                return Destination(name, url, bearer, has_tenants=True)
            if server.username is not None and server.password is not None:
                basic = (*_basic(server.username, server.password), *more)
                return Destination(name, url, basic, has_tenants=True)
        return Destination(name, url, more, has_tenants=True)

    metrics = destination("mimir", mimir.url, mimir, prometheus) or destination(
        "prometheus", prometheus.url, prometheus
    )
    return metrics, destination("loki", loki.url, loki), tuple(faults)


TENANT_RULE: Final = (
    "use up to 150 letters, digits and !-_.*'(), but not . or .. alone, nor __mimir_cluster"
)

_RESERVED: Final = (".", "..", "__mimir_cluster")


def is_valid_tenant(text: str) -> bool:
    """Whether Mimir and Loki accept a tenant; they reject every request of another."""
    return text not in _RESERVED and bool(re.fullmatch(r"[a-zA-Z0-9!\-_.*'()]{1,150}", text))


ORG_PLACEHOLDER: Final = "{org_id}"

DEFAULT_TENANT: Final = "openqoe"
"""Tenant of what belongs to no organisation, if the tenant depends on the organisation."""


def find_tenant_faults(tenant: str | None, default: str | None, org_action: str) -> Faults:
    """Return the faults of the settings of tenants.

    Args:
        tenant: OPENQOE_TENANT.
        default: OPENQOE_DEFAULT_TENANT.
        org_action: The action of the limit of the label ``org_id``.
    """
    faults = []
    has_template = ORG_PLACEHOLDER in (tenant or "")
    sample = None if tenant is None else tenant.replace(ORG_PLACEHOLDER, "a")
    if sample is not None and not is_valid_tenant(sample):
        faults.append(f"OPENQOE_TENANT is no tenant: {TENANT_RULE}; {ORG_PLACEHOLDER} may be in it")
    if default is not None and not is_valid_tenant(default):
        faults.append(f"OPENQOE_DEFAULT_TENANT is no tenant: {TENANT_RULE}")
    if default is not None and not has_template:
        faults.append(f"OPENQOE_DEFAULT_TENANT needs {ORG_PLACEHOLDER} in OPENQOE_TENANT")
    if has_template and org_action != "allow":
        faults.append(
            f"OPENQOE_TENANT contains {ORG_PLACEHOLDER}, so CARDINALITY_LIMITS must have the "
            "action allow for org_id: series show their organisation by this label"
        )
    return tuple(faults)


def grafana_cloud_destinations(
    instance_id: str | None,
    api_key: str | None,
    region: str | None,
    metrics_url: str | None,
    logs_url: str | None,
) -> tuple[Destination | None, Destination | None, Faults]:
    """Return the destinations of a Grafana Cloud stack, and the faults.

    A configured URL takes precedence over the one derived from the region.
    """
    faults = [
        f"GRAFANA_CLOUD_{name} is missing: Grafana Cloud needs an instance id and an API key"
        for name, value in (("INSTANCE_ID", instance_id), ("API_KEY", api_key))
        if not value
    ]
    faults += [
        f"GRAFANA_CLOUD_{name} is missing: set it, or GRAFANA_CLOUD_REGION"
        for name, value in (("METRICS_URL", metrics_url), ("LOGS_URL", logs_url))
        if not value and not region
    ]
    if instance_id and not instance_id.isascii():
        faults.append("GRAFANA_CLOUD_INSTANCE_ID must be ASCII: it is sent as a header")
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
            is_url_derived=metrics_url is None,
        ),
        Destination(
            "grafana_cloud_logs",
            logs_url or f"https://logs-prod-{cluster}.grafana.net/loki/api/v1/push",
            headers,
            is_url_derived=logs_url is None,
        ),
        (),
    )


def _cluster(region: str) -> str:
    """Return the name of a region's first cluster: us-central-0 for us-central1."""
    return region if re.search(r"-\d+$", region) else re.sub(r"\d+$", "", region) + "-0"


def _basic(username: str, password: str) -> tuple[tuple[str, str], ...]:
    credentials = b64encode(f"{username}:{password}".encode()).decode()
    return (("Authorization", f"Basic {credentials}"),)

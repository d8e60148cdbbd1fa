"""The settings of a worker, checked, and what follows from them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from . import declaration
from .cardinality_limits import EXTRA_DIMENSIONS
from .declaration import SettingsError
from .destinations import (
    DEFAULT_TENANT,
    EMBEDDED_LOGS,
    EMBEDDED_METRICS,
    EMBEDDED_VIEWS,
    ORG_PLACEHOLDER,
    Destination,
    Faults,
    ServerSettings,
    find_tenant_faults,
    grafana_cloud_destinations,
    self_hosted_destinations,
)
from .field_paths import HASH_LENGTH, find_path_faults
from .log_labels import LOG_LABELS
from .settings_table import Settings

MIN_HASH_KEY = 16
"""Minimum characters of OPENQOE_HASH_KEY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """All settings, parsed and validated, and the destinations that they name.

    Raises:
        SettingsError: On construction; names every fault.
    """

    def __post_init__(self) -> None:
        faults = [
            *declaration.find_out_of_bounds(self),
            *declaration.find_control_characters(self),
            *self._destinations()[2],
        ]
        if self.destination_client_key and not self.destination_client_cert:
            faults.append("OPENQOE_DESTINATION_CLIENT_CERT is missing: a key alone is not enough")
        faults += _find_unknown("OPENQOE_EXTRA_LABELS", self.extra_labels, EXTRA_DIMENSIONS)
        faults += _find_unknown("OPENQOE_LOG_LABELS", self.log_labels, LOG_LABELS)
        faults += find_path_faults(self.drop_fields, self.hash_fields)
        if self.hash_key is not None and len(self.hash_key) < MIN_HASH_KEY:
            faults.append(f"OPENQOE_HASH_KEY is shorter than {MIN_HASH_KEY} characters")
        if self.hash_fields and self.hash_key is None and self.durability == "memory":
            faults.append(
                "OPENQOE_HASH_KEY is missing: with durability memory nothing else keeps the key of "
                "OPENQOE_HASH_FIELDS"
            )
        if self.hash_fields and self.max_id_length < HASH_LENGTH:
            faults.append(f"OPENQOE_MAX_ID_LENGTH is below {HASH_LENGTH}, the length of a hash")
        if "event_type" not in self.log_labels:
            faults.append("OPENQOE_LOG_LABELS lacks event_type")
        if faults:
            raise SettingsError(tuple(faults))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Build the configuration from environment variables.

        Raises:
            SettingsError: Names every fault of every variable.
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
        """Destinations of metrics: none, one, or two if the embedded store is one of them."""
        return self._with_embedded(self._destinations()[0], EMBEDDED_METRICS)

    @property
    def logs_destinations(self) -> tuple[Destination, ...]:
        """Destinations of logs: none, one, or two if the embedded store is one of them."""
        return self._with_embedded(self._destinations()[1], EMBEDDED_LOGS)

    @property
    def views_destinations(self) -> tuple[Destination, ...]:
        """Destinations of rows of views: the embedded store, or none."""
        return (EMBEDDED_VIEWS,) if self.is_embedded else ()

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded store is a destination."""
        if self.embedded == "auto":
            metrics, logs, _ = self._destinations()
            return metrics is None and logs is None
        return self.embedded == "on"

    @property
    def has_dashboard(self) -> bool:
        """Whether the dashboard is served: it needs the embedded store."""
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
        metrics, logs, faults = self_hosted_destinations(
            mimir=ServerSettings(
                self.mimir_url, self.mimir_username, self.mimir_password, self.mimir_bearer_token
            ),
            prometheus=ServerSettings(
                self.prometheus_url,
                self.prometheus_username,
                self.prometheus_password,
                self.prometheus_bearer_token,
            ),
            loki=ServerSettings(
                self.loki_url, self.loki_username, self.loki_password, self.loki_bearer_token
            ),
            tenant=self.fallback_tenant,
            headers=self.destination_headers,
        )
        org_action = self.cardinality_limits["org_id"].action
        tenant_faults = find_tenant_faults(self.tenant, self.default_tenant, org_action)
        return metrics, logs, (*faults, *tenant_faults)

    @property
    def tenant_template(self) -> str | None:
        """The tenant of an organisation, with ``{org_id}`` in it; None if it depends on none."""
        return self.tenant if self.tenant is not None and ORG_PLACEHOLDER in self.tenant else None

    @property
    def fallback_tenant(self) -> str | None:
        """Tenant of what belongs to no organisation with a tenant; None: requests name none."""
        if self.tenant_template is None:
            return self.tenant
        return self.default_tenant or DEFAULT_TENANT


def _find_unknown(setting: str, names: Iterable[str], known: Collection[str]) -> list[str]:
    return [
        f"{setting} names {name!r}, which is none of {', '.join(known)}"
        for name in names
        if name not in known
    ]

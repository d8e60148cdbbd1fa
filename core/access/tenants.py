"""Tenants: whose data goes to which tenant of Mimir and Loki.

An organisation's tenant comes from the keys file, else from ``OPENQOE_TENANT`` with ``{org_id}`` in
it. It depends on the organisation alone, not on the key of a request: so series, which many
requests share, and batches that are replayed from the journal, find their tenant again.

The default tenant ("") gets what belongs to no organisation (the worker's own metrics, overflow
series), and what must not choose a tenant: organisations whose name no tenant may have, those of
label values that several organisations share, and those beyond ``MAX_TENANTS``. Pages choose the
organisation where keys are not limited to some, so without that bound they could open any number
of queues.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ..config.destinations import ORG_PLACEHOLDER, is_valid_tenant
from ..config.worker_config import Config
from .key_ring import KeyRing

MAX_TENANTS: Final = 200
"""Maximum tenants besides the default one."""

LIFETIME: Final = 3_600_000
"""ms without data after which a tenant makes room for another."""

MAX_CACHED: Final = 10_000
"""Organisations after which the cache is cleared: clients choose them."""

_FOLDED: Final = re.compile(r"hash_[0-9a-f]{2}")
"""Label values that several organisations share (``governance/dimension``)."""


def tenant_of_org(config: Config, mapped: Mapping[str, str], org_id: str) -> str:
    """Return the tenant that an organisation should have by the settings; "" for the default.

    Args:
        config: The settings.
        mapped: Tenants by organisation, of the keys file.
        org_id: The organisation.
    """
    tenant = mapped.get(org_id)
    if tenant is None:
        if config.tenant_template is None or not org_id or _FOLDED.fullmatch(org_id):
            return ""
        tenant = config.tenant_template.replace(ORG_PLACEHOLDER, org_id)
    return "" if tenant == config.fallback_tenant else tenant


class Tenants:
    """Finds the tenants of organisations, and limits their number.

    Args:
        config: The settings.
        ring: The keys.

    Attributes:
        is_limited: Whether an organisation was sent to the default tenant because of the limit.
    """

    def __init__(self, config: Config, ring: KeyRing) -> None:
        self._config = config
        self._ring = ring
        self._mapped: Mapping[str, str] = ring.tenants
        self._cache: dict[str, str] = {}  # tenants by organisation
        self._admitted: dict[str, int | None] = {}  # when each was used last, ms
        self._refused: dict[str, int] = {}
        self.is_limited = False

    @property
    def is_used(self) -> bool:
        """Whether any organisation has a tenant of its own."""
        return self._config.tenant_template is not None or bool(self._ring.tenants)

    @property
    def count(self) -> int:
        """Number of tenants besides the default one."""
        return len(self._admitted)

    def of_org(self, org_id: str) -> str:
        """Return the tenant of an organisation; "" for the default."""
        if self._ring.tenants is not self._mapped:  # the keys file has changed
            self._mapped = self._ring.tenants
            self._cache.clear()
        tenant = self._cache.get(org_id)
        if tenant is None:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            tenant = self._cache[org_id] = self._admit(org_id)
        return tenant

    def of_labels(self, labels: Iterable[tuple[str, str]]) -> str:
        """Return the tenant of a series; "" for the default."""
        for name, value in labels:
            if name == "org_id":
                return self.of_org(value)
        return ""

    def _admit(self, org_id: str) -> str:
        tenant = tenant_of_org(self._config, self._mapped, org_id)
        if not tenant or tenant in self._admitted:
            return tenant
        if not is_valid_tenant(tenant):
            self._count_refused("name")
            return ""
        # Tenants of the keys file have their places, whatever organisations pages invent.
        reserved = () if org_id in self._mapped else self._mapped.values()
        if len({*self._admitted, *reserved}) >= MAX_TENANTS:
            self._count_refused("limit")
            self.is_limited = True
            return ""
        self._admitted[tenant] = None
        return tenant

    def _count_refused(self, reason: str) -> None:
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def pop_refused(self) -> Mapping[str, int]:
        """Return how many organisations were sent to the default tenant since the last call.

        The reasons are ``limit`` and ``name`` (no tenant may have it).
        """
        refused, self._refused = self._refused, {}
        return refused

    def restore(self, tenants: Iterable[str]) -> None:
        """Admit the tenants of an earlier process: data for them may wait on disk."""
        self._admitted.update(dict.fromkeys(tenants))

    def note_use(self, tenant: str, now: int) -> None:
        """Note that a tenant gets data."""
        if tenant:
            self._admitted[tenant] = now

    def release_unused(self, is_idle: Callable[[str], bool], now: int) -> tuple[str, ...]:
        """Make room for other tenants.

        Args:
            is_idle: Whether nothing waits for a tenant.
            now: Current time in ms.

        Returns:
            The tenants that were released.
        """
        released = []
        for tenant, used_at in self._admitted.items():
            if used_at is None or used_at > now:
                self._admitted[tenant] = now
            elif now - used_at >= LIFETIME and is_idle(tenant):
                released.append(tenant)
        for tenant in released:
            del self._admitted[tenant]
        if released:
            self._cache.clear()  # of those beyond the limit, too
        return tuple(released)

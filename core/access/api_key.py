"""API keys: scopes, organisations and limits of one key.

A key is known by its SHA-256 only. Keys have at least 128 random bits (``openqoe keys new``), so a
plain hash needs neither salt nor stretching, and a look-up by digest reveals nothing by its
duration.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple


class Scope(StrEnum):
    """What a key may do."""

    INGEST = "ingest"
    """Send events."""
    READ = "read"
    """Read numbers: the dashboard and its API, ``/stats``, all of ``/metrics``."""
    LOGS = "logs"
    """Read events as they came in, and ids of viewers and sessions: the dashboard's tail and
    pages of views. Without it, the list of views does not show these ids."""
    ADMIN = "admin"
    """Erase viewers."""


class Rate(NamedTuple):
    """Limit of a key's events over time.

    Attributes:
        events_per_second: Events admitted in the long run.
        burst: Events admitted at once after a pause.
    """

    events_per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key.

    Attributes:
        digest: SHA-256 of the key.
        name: Names the key in metrics and log lines; several keys of one setting share a name.
        scopes: What it may do.
        orgs: Organisations whose events it may send and read; None for all.
        rate: Limit over time; None for no limit.
        events_per_day: Quota; above it the views of the key are thinned. None for no quota.
        sample: Fraction of the key's views that is accepted.
        is_revoked: Whether it opens nothing any more.
        tenant: Tenant of its organisations in Mimir and Loki; "" if it does not say.
    """

    digest: bytes
    name: str
    scopes: frozenset[Scope]
    orgs: frozenset[str] | None = None
    rate: Rate | None = None
    events_per_day: int | None = None
    sample: float = 1.0
    is_revoked: bool = False
    tenant: str = ""


def key_digest(text: str) -> bytes:
    """Return the SHA-256 of a key."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()

"""Paths of members of events: the settings OPENQOE_DROP_FIELDS and OPENQOE_HASH_FIELDS."""

import re
from collections.abc import Sequence
from typing import Final

CLIENT_ADDRESSES: Final = (
    *("ip", "ip_address", "client_ip", "network.ip", "network.ip_address", "network.client_ip"),
)
"""Members that hold the address of a client. No metric or label needs it."""

HASH_LENGTH: Final = 32
"""Characters of a hash: 128 bits in hexadecimal."""

REQUIRED: Final = frozenset(
    {
        *("event_type", "event_time", "viewer_time", "org_id", "player_id"),
        *("view_id", "session_id", "viewer_id"),
    }
)
"""Members that every event must have."""

NOT_HASHED: Final = frozenset({"event_type", "event_time", "viewer_time", "org_id"})
"""Members that nothing works without: the type and times, and the organisation, which access
depends on."""

_PATH: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def parse_field_paths(text: str) -> tuple[str, ...]:
    """Split paths at commas; ``none`` is the empty list.

    Raises:
        ValueError: One is not a path.
    """
    paths = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not paths:
        raise ValueError("holds no value")
    if paths == ("none",):
        return ()
    for path in paths:
        if not _PATH.fullmatch(path):
            raise ValueError(f"holds {path!r}, which is not a path like network.ip")
    return paths


def find_path_faults(dropped: Sequence[str], hashed: Sequence[str]) -> list[str]:
    """Return the faults of both settings."""
    faults = [
        f"OPENQOE_DROP_FIELDS names {path}, which every event must have"
        + ("" if path in NOT_HASHED else "; hash it instead")
        for path in dropped
        if path in REQUIRED
    ]
    faults += [
        f"OPENQOE_HASH_FIELDS names {path}, which cannot be hashed"
        for path in hashed
        if path in NOT_HASHED
    ]
    faults += [
        f"OPENQOE_HASH_FIELDS names {path}, which OPENQOE_DROP_FIELDS removes"
        for path in hashed
        if path in dropped
    ]
    return faults

"""The target of CMCD reports: who reports, by the query of the URL and the user agent.

A player reports to the URL that the site configures, and nothing else says whose player it is:

    https://qoe.example/v1/cmcd?api_key=K&org_id=acme&player_id=web&player_name=hlsjs

A body is journalled with its target in front of it ("wrapped"), because it means nothing without.
The API key is not part of the target, so it is not in the journal.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from ..primitives.bounded_cache import BoundedCache
from ..primitives.memory_size import memory_size
from .faults import NotCmcdError

MAGIC: Final = b"CMCD/2 "
"""First bytes of a wrapped body; no JSON begins like this."""

MAX_FIELDS: Final = 100
"""Maximum fields in the query of a target."""

DEFAULT_ORGANISATION: Final = "default"
DEFAULT_PLAYER: Final = "cmcd"


class CmcdTarget(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the query and the user agent say about a player."""

    org_id: str = DEFAULT_ORGANISATION
    player_id: str = DEFAULT_PLAYER
    env: str | None = None
    app_name: str | None = None
    app_version: str | None = None
    player_name: str | None = None
    device_category: str | None = None
    os_family: str | None = None
    browser_family: str | None = None


QUERY_FIELDS: Final = ("org_id", "player_id", "env", "app_name", "app_version", "player_name")
"""Fields of the query that become labels."""

REQUIRED_FIELDS: Final = ("org_id", "player_id")
"""Fields that distinguish the players of several sites."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CmcdTarget).decode

CACHE_BYTES: Final = 1 * 1024 * 1024
"""Approximate bytes of each of two caches: about two thousand players each."""

_decoded: BoundedCache[bytes, CmcdTarget] = BoundedCache(CACHE_BYTES)
_read: BoundedCache[tuple[str, str, int], CmcdTarget] = BoundedCache(CACHE_BYTES)


def is_wrapped(body: bytes) -> bool:
    """Whether a body is one of CMCD records with its target."""
    return body.startswith(MAGIC)


def wrap(target: CmcdTarget, records: bytes) -> bytes:
    """Return records with their target in front."""
    return b"%b%b\n%b" % (MAGIC, _encode(target), records)


def unwrap(body: bytes) -> tuple[CmcdTarget, bytes]:
    """Return target and records of a wrapped body.

    Raises:
        NotCmcdError: The target is damaged.
    """
    head, _, records = body.removeprefix(MAGIC).partition(b"\n")
    target = _decoded.get(head)
    if target is None:
        try:
            target = _decode(head)
        except msgspec.DecodeError as error:
            raise NotCmcdError(f"target: {error}") from None
        _decoded.add(head, target, memory_size((head, target)))
    return target, records


def read_target(query: str, headers: Mapping[str, str], longest: int) -> CmcdTarget:
    """Return the target of a request.

    Args:
        query: The query of the URL.
        headers: Headers of the request by lower-case name.
        longest: Maximum characters of a value; longer ones are cut.

    Raises:
        NotCmcdError: The query has too many fields.
    """
    user_agent = headers.get("user-agent", "")[:MAX_USER_AGENT]
    key = (query, user_agent, longest)
    target = _read.get(key)
    if target is None:
        target = _read_target(query, user_agent, longest)
        _read.add(key, target, memory_size((*key, target)))
    return target


MAX_USER_AGENT: Final = 512
"""Characters of a user agent that are read."""


def _read_target(query: str, user_agent: str, longest: int) -> CmcdTarget:
    try:
        fields = dict(parse_qsl(query, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise NotCmcdError(f"the query has more than {MAX_FIELDS} fields") from None
    given = {name: fields[name][:longest] for name in QUERY_FIELDS if fields.get(name)}
    return CmcdTarget(
        **given,
        device_category=_device(user_agent),
        os_family=_first(OPERATING_SYSTEMS, user_agent),
        browser_family=_first(BROWSERS, user_agent),
    )


# Families only, with the SDK's names, so that the series of both sources have the same labels.

BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
"""Part of a user agent and the browser, the first that occurs: most name others, too."""

OPERATING_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("Tizen", "Tizen"),
    ("Web0S", "webOS"),
    ("CrOS", "ChromeOS"),
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("AppleTV", "tvOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)

TELEVISIONS: Final = (
    *("Tizen", "Web0S", "SmartTV", "SMART-TV", "AppleTV", "CrKey", "BRAVIA", "AFT", "HbbTV"),
    *("Android TV", "GoogleTV", "Roku"),
)


def _first(table: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    return next((name for part, name in table if part in user_agent), None)


def _device(user_agent: str) -> str | None:
    if any(part in user_agent for part in TELEVISIONS):
        return "tv"
    if "iPad" in user_agent or ("Android" in user_agent and "Mobile" not in user_agent):
        return "tablet"
    if "Mobi" in user_agent or "iPhone" in user_agent:
        return "mobile"
    return "desktop" if _first(OPERATING_SYSTEMS, user_agent) else None

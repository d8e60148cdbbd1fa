"""The file of ``OPENQOE_KEYS_FILE``: a JSON list of keys, each by its SHA-256.

    [{"sha256": "9f86…", "name": "acme-web", "scopes": ["ingest"], "orgs": ["acme"],
      "tenant": "acme",
      "rate": {"events_per_second": 200, "burst": 2000},
      "quota": {"events_per_day": 5000000}, "sample": 1.0, "revoked": false}]

Only ``sha256``, ``name`` and ``scopes`` are required. All faults are reported at once, and an
unknown member is a fault: a misspelt ``orgs`` must not open a key to every organisation.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from ..config.declaration import SettingsError
from ..config.destinations import TENANT_RULE, is_valid_tenant
from .api_key import ApiKey, Rate, Scope

SETTING: Final = "OPENQOE_KEYS_FILE"

MAX_BYTES: Final = 4 * 1024 * 1024
"""Maximum size of the file."""

MAX_KEYS: Final = 10_000

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")

_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class _Rate(msgspec.Struct, forbid_unknown_fields=True):
    events_per_second: _Positive
    burst: _Count | None = None


class _Quota(msgspec.Struct, forbid_unknown_fields=True):
    events_per_day: _Count


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    name: str
    scopes: list[Scope]
    orgs: list[Annotated[str, msgspec.Meta(min_length=1)]] | None = None
    tenant: str | None = None
    rate: _Rate | None = None
    quota: _Quota | None = None
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    revoked: bool = False


class KeysFileError(SettingsError):
    """The keys file is invalid; every fault is named, none shows a key or a digest."""


def parse_keys_file(document: bytes) -> tuple[ApiKey, ...]:
    """Return the keys of a file.

    Raises:
        KeysFileError: The file is invalid.
    """
    if len(document) > MAX_BYTES:
        raise KeysFileError((f"{SETTING} is larger than {MAX_BYTES} bytes",))
    try:
        entries = msgspec.json.decode(document, type=list[dict[str, Any]])
        json.loads(document, object_pairs_hook=_reject_repeated)
    except _RepeatedMemberError as error:
        raise KeysFileError((f"{SETTING} has an entry with two members {error}",)) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise KeysFileError((f"{SETTING} is not a JSON list of objects ({error})",)) from None
    if len(entries) > MAX_KEYS:
        raise KeysFileError((f"{SETTING} holds more than {MAX_KEYS} keys",))
    keys: list[ApiKey] = []
    faults: list[str] = []
    digests: set[bytes] = set()
    names: set[str] = set()
    tenants: dict[str, str] = {}  # by organisation
    for number, entry in enumerate(entries, 1):
        where = f"{SETTING} entry {number}"
        try:
            parsed = msgspec.convert(entry, _Entry)
        except msgspec.ValidationError as error:
            faults.append(f"{where}: {error}")
            continue
        found = _faults_of(parsed, entry)
        if not found:
            if bytes.fromhex(parsed.sha256) in digests:
                found.append("sha256 is that of another entry")
            if parsed.name in names:
                found.append("name is that of another entry")
            found += _conflicting_tenants(parsed, tenants)
            digests.add(bytes.fromhex(parsed.sha256))
            names.add(parsed.name)
        faults += (f"{where}: {fault}" for fault in found)
        if not found:
            keys.append(_key_of(parsed))
    if faults:
        raise KeysFileError(tuple(faults))
    return tuple(keys)


class _RepeatedMemberError(Exception):
    pass


def _reject_repeated(pairs: list[tuple[str, Any]]) -> None:
    """Reject an object with a repeated member: it is not certain which one was meant."""
    names = {name for name, _ in pairs}
    if len(names) < len(pairs):
        repeated = [name for name, _ in pairs]
        raise _RepeatedMemberError(repr(max(names, key=repeated.count)))


def _faults_of(entry: _Entry, document: Mapping[str, Any]) -> list[str]:
    faults = []
    if not _SHA256.fullmatch(entry.sha256):
        faults.append("sha256 is not 64 hexadecimal digits")
    if not _NAME.fullmatch(entry.name):
        faults.append("name must be up to 64 letters, digits and ._-")
    if not entry.scopes:
        faults.append("scopes holds no scope")
    if entry.orgs is not None and not entry.orgs:
        faults.append("orgs holds no organisation; leave it out for all")
    if "orgs" in document and entry.orgs is None:
        faults.append("orgs is null; leave it out for all")
    if entry.tenant is not None and not is_valid_tenant(entry.tenant):
        faults.append(f"tenant is none: {TENANT_RULE}")
    if entry.tenant is not None and not entry.orgs:
        faults.append("tenant needs orgs: it is the tenant of these organisations")
    return faults


def _conflicting_tenants(entry: _Entry, tenants: dict[str, str]) -> list[str]:
    """Add the tenants of an entry's organisations; return the faults of those that have another.

    Data is sent by organisation, whatever key it came with, so each has one tenant.
    """
    if entry.tenant is None:
        return []
    tenant = entry.tenant
    return [
        f"organisation {org!r} has another tenant in an entry before"
        for org in entry.orgs or ()
        if tenants.setdefault(org, tenant) != tenant
    ]


def _key_of(entry: _Entry) -> ApiKey:
    rate = entry.rate
    return ApiKey(
        bytes.fromhex(entry.sha256),
        entry.name,
        frozenset(entry.scopes),
        None if entry.orgs is None else frozenset(entry.orgs),
        # By default ten seconds' worth, so that a player's batch after an outage passes.
        None
        if rate is None
        else Rate(rate.events_per_second, rate.burst or max(1, int(10 * rate.events_per_second))),
        None if entry.quota is None else entry.quota.events_per_day,
        entry.sample,
        entry.revoked,
        entry.tenant or "",
    )

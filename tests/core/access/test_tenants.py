"""Which tenant an organisation's data goes to, and how many tenants there may be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openqoe.core.access.api_key import key_digest
from openqoe.core.access.key_ring import KeyRing
from openqoe.core.access.keys_file import KeysFileError
from openqoe.core.access.tenants import LIFETIME, MAX_TENANTS, Tenants
from openqoe.core.config.worker_config import Config
from tests.support.event_builders import NOW

EACH = {"OPENQOE_TENANT": "{org_id}"}


def keys_file(*entries: dict[str, Any]) -> bytes:
    """A keys file with these entries; each is completed."""
    base = {"scopes": ["ingest"]}
    return json.dumps(
        [
            {**base, "sha256": key_digest(str(n)).hex(), "name": f"key-{n}", **entry}
            for n, entry in enumerate(entries)
        ]
    ).encode()


def tenants(file: bytes | None = None, /, **settings: str) -> Tenants:
    if file is not None:
        settings["OPENQOE_KEYS_FILE"] = "keys.json"
    config = Config.from_environment(settings)
    return Tenants(config, KeyRing(config, file))


@pytest.mark.parametrize(
    ("setting", "org", "tenant"),
    [
        (None, "acme", ""),
        ("team", "acme", ""),
        ("{org_id}", "acme", "acme"),
        ("qoe-{org_id}", "acme", "qoe-acme"),
        ("{org_id}", "", ""),
        ("{org_id}", "openqoe", ""),  # the default tenant
        ("{org_id}", "hash_0a", ""),  # a label value that many organisations share
        ("{org_id}", "a b", ""),
        ("{org_id}", "..", ""),
        ("{org_id}", "a|b", ""),
        ("{org_id}", "a/b", ""),
        ("{org_id}", "x" * 151, ""),
        ("{org_id}", "{org_id}", ""),
    ],
)
def test_tenant_of_an_organisation_by_the_setting(
    setting: str | None, org: str, tenant: str
) -> None:
    found = tenants(**({} if setting is None else {"OPENQOE_TENANT": setting}))
    assert found.of_org(org) == tenant
    assert found.of_labels((("env", "x"), ("org_id", org), ("video_id", "v"))) == tenant


def test_series_without_organisation_belong_to_the_default_tenant() -> None:
    assert tenants(**EACH).of_labels((("overflow", "true"),)) == ""


def test_tenant_of_the_keys_file_precedes_the_template() -> None:
    found = tenants(keys_file({"orgs": ["acme", "acme-eu"], "tenant": "gold"}), **EACH)
    orgs = ("acme", "acme-eu", "other")
    assert [found.of_org(org) for org in orgs] == ["gold", "gold", "other"]


def test_revoked_key_still_names_the_tenant_of_its_organisations() -> None:
    found = tenants(keys_file({"orgs": ["acme"], "tenant": "gold", "revoked": True}))
    assert found.of_org("acme") == "gold"


def test_changed_keys_file_changes_tenants_at_once() -> None:
    config = Config.from_environment({"OPENQOE_KEYS_FILE": "keys.json"})
    ring = KeyRing(config, keys_file({"orgs": ["acme"]}))
    found = Tenants(config, ring)
    assert (found.is_used, found.of_org("acme")) == (False, "")
    ring.update(keys_file({"orgs": ["acme"], "tenant": "gold"}))
    assert (found.is_used, found.of_org("acme")) == (True, "gold")


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([{"tenant": "gold"}], "tenant needs orgs"),
        ([{"orgs": ["acme"], "tenant": "a b"}], "tenant is none: use up to 150"),
        (
            [{"orgs": ["acme"], "tenant": "a"}, {"orgs": ["b", "acme"], "tenant": "b"}],
            "entry 2: organisation 'acme' has another tenant in an entry before",
        ),
    ],
)
def test_invalid_tenant_in_the_keys_file_is_a_fault(
    entries: list[dict[str, Any]], fault: str
) -> None:
    with pytest.raises(KeysFileError, match=fault):
        tenants(keys_file(*entries))


def test_tenants_need_the_organisation_in_series() -> None:
    hidden = {"CARDINALITY_LIMITS": '{"org_id": {"action": "hash"}}'}
    with pytest.raises(KeysFileError, match="must have the action allow"):
        tenants(keys_file({"orgs": ["acme"], "tenant": "gold"}), **hidden)


def test_organisations_above_the_limit_share_the_default_tenant_and_are_counted_once() -> None:
    found = tenants(**EACH)
    given = [found.of_org(f"org-{n}") for n in range(MAX_TENANTS + 3)]
    assert given[MAX_TENANTS - 1 :] == [f"org-{MAX_TENANTS - 1}", "", "", ""]
    assert found.of_org(f"org-{MAX_TENANTS}") == ""
    assert (found.count, found.is_limited) == (MAX_TENANTS, True)
    assert found.pop_refused() == {"limit": 3}
    assert found.pop_refused() == {}


def test_organisations_that_pages_invent_leave_room_for_those_of_the_keys_file() -> None:
    found = tenants(keys_file({"orgs": ["acme"], "tenant": "gold"}), **EACH)
    invented = [found.of_org(f"org-{n}") for n in range(MAX_TENANTS)]
    assert invented[-2:] == [f"org-{MAX_TENANTS - 2}", ""]
    assert found.of_org("acme") == "gold"


def test_tenant_without_data_makes_room_once_nothing_waits_for_it() -> None:
    found = tenants(**EACH)
    for n in range(MAX_TENANTS + 1):
        found.of_org(f"org-{n}")
    for n in range(MAX_TENANTS):
        found.note_use(f"org-{n}", NOW if n else NOW - 1)
    later = NOW - 1 + LIFETIME
    assert found.release_unused(lambda tenant: False, later) == ()
    assert found.release_unused(lambda tenant: True, later - 1) == ()
    assert found.release_unused(lambda tenant: True, later) == ("org-0",)
    assert found.of_org(f"org-{MAX_TENANTS}") == f"org-{MAX_TENANTS}"
    assert found.of_org("org-0") == ""

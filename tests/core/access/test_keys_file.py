"""The keys file: what it may hold, and the faults that are reported."""

import json
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.access.api_key import ApiKey, Rate, Scope, key_digest
from openqoe.core.access.keys_file import MAX_BYTES, MAX_KEYS, KeysFileError, parse_keys_file


def entry(name: str = "acme-web", key: str = "k", **more: Any) -> dict[str, Any]:
    return {"sha256": sha256(key.encode()).hexdigest(), "name": name, "scopes": ["ingest"], **more}


def parse(*entries: Any) -> tuple[ApiKey, ...]:
    return parse_keys_file(json.dumps(entries).encode())


def test_complete_entry_is_parsed() -> None:
    (key,) = parse(
        entry(
            scopes=["ingest", "read", "logs", "admin"],
            orgs=["acme", "acme-eu"],
            tenant="gold",
            rate={"events_per_second": 200, "burst": 2000},
            quota={"events_per_day": 5_000_000},
            sample=0.5,
            revoked=False,
        )
    )
    assert key == ApiKey(
        key_digest("k"),
        "acme-web",
        frozenset(Scope),
        frozenset({"acme", "acme-eu"}),
        Rate(200, 2000),
        5_000_000,
        0.5,
        False,
        "gold",
    )


def test_short_entry_has_no_limits() -> None:
    (key,) = parse(entry())
    assert key == ApiKey(key_digest("k"), "acme-web", frozenset({Scope.INGEST}))


def test_burst_defaults_to_ten_seconds() -> None:
    assert parse(entry(rate={"events_per_second": 2.5}))[0].rate == Rate(2.5, 25)
    assert parse(entry(rate={"events_per_second": 0.01}))[0].rate == Rate(0.01, 1)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"sha256": "abc"}, "sha256 is not 64 hexadecimal digits"),
        ({"name": ""}, "name must be"),
        ({"name": "a b"}, "name must be"),
        ({"scopes": []}, "scopes holds no scope"),
        ({"scopes": ["write"]}, "scopes"),
        ({"orgs": []}, "orgs holds no organisation"),
        ({"orgs": None}, "orgs is null"),
        ({"orgs": [""]}, "orgs"),
        ({"org": ["acme"]}, "unknown field `org`"),
        ({"rate": {"events_per_second": 0}}, "rate"),
        ({"rate": {"burst": 5}}, "rate"),
        ({"quota": {"events_per_day": 0}}, "quota"),
        ({"sample": 1.5}, "sample"),
        ({"revoked": "yes"}, "revoked"),
    ],
)
def test_invalid_entry_is_named_with_its_number(more: dict[str, Any], fault: str) -> None:
    with pytest.raises(KeysFileError) as caught:
        parse(entry("one"), entry("two", "k2") | more)
    (text,) = caught.value.faults
    assert text.startswith("OPENQOE_KEYS_FILE entry 2: ")
    assert fault in text


def test_all_faults_are_reported_and_none_shows_a_hash() -> None:
    with pytest.raises(KeysFileError) as caught:
        parse(entry("a"), entry("a"), entry("b", "k2", sample=9), {"name": "c"})
    assert len(caught.value.faults) == 4
    assert sha256(b"k").hexdigest() not in str(caught.value)


def test_repeated_member_is_a_fault() -> None:
    """JSON takes the last one, and a person may have meant the first."""
    document = json.dumps(entry("a", revoked=True)).encode()
    with pytest.raises(KeysFileError, match="two members 'revoked'"):
        parse_keys_file(b"[" + document[:-1] + b', "revoked": false}]')
    nested = document[:-1] + b', "rate": {"events_per_second": 1, "events_per_second": 9}}'
    with pytest.raises(KeysFileError, match="two members 'events_per_second'"):
        parse_keys_file(b"[" + nested + b"]")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"null",
        b'[{"a": ' + b"1" * 5000 + b"}]",
        b"[1]",
        b"[[]]",
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_file_that_is_no_list_of_objects_is_rejected(document: bytes) -> None:
    with pytest.raises(KeysFileError):
        parse_keys_file(document)


def test_too_many_keys_are_rejected() -> None:
    with pytest.raises(KeysFileError, match="more than"):
        parse_keys_file(b"[" + b"{}," * MAX_KEYS + b"{}]")


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_arbitrary_file_raises_nothing_else(document: bytes) -> None:
    with suppress(KeysFileError):
        parse_keys_file(document)

"""The key ring: which key opens what, from where."""

import json
from typing import Any

import pytest

from openqoe.core.access.api_key import Scope, key_digest
from openqoe.core.access.key_ring import Grant, KeyRing, Refusal
from openqoe.core.access.keys_file import KeysFileError
from openqoe.core.config.worker_config import Config
from openqoe.core.http.messages import Request

HERE = "127.0.0.1"
AWAY = "203.0.113.7"
READS = (Scope.READ, Scope.LOGS)


def document(**entries: dict[str, Any]) -> bytes:
    """A keys file: the keyword is the key's text and its name."""
    return json.dumps(
        [
            {"sha256": key_digest(text).hex(), "name": text, "scopes": ["ingest"], **entry}
            for text, entry in entries.items()
        ]
    ).encode()


def ring(file: bytes | None = None, **settings: str) -> KeyRing:
    if file is not None:
        settings["OPENQOE_KEYS_FILE"] = "/keys.json"
    return KeyRing(Config.from_environment(settings), file)


def request(key: str = "", client: str = AWAY, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", "/", headers={"x-api-key": key, **named}, client=client)


def outcome(keys: KeyRing, scope: Scope, key: str = "", client: str = AWAY) -> str:
    host = "127.0.0.1:8787" if client == HERE else "qoe.example"
    found = keys.authorize(request(key, client, host=host), scope)
    return "grant" if isinstance(found, Grant) else found.name


FILE = document(
    web={},
    board={"scopes": ["read"]},
    support={"scopes": ["read", "logs"]},
    admin={"scopes": ["admin"]},
    old={"scopes": ["ingest", "read", "logs"], "revoked": True},
)


@pytest.mark.parametrize(
    ("keys", "key", "client", "expected"),
    [
        # ingest, read, logs, admin
        (ring(), "", AWAY, "grant HOST HOST KEY"),
        (ring(), "any", HERE, "grant grant grant KEY"),
        (ring(OPENQOE_ALLOWED_HOSTS="qoe.example"), "", AWAY, "grant grant grant KEY"),
        (ring(API_KEY="a"), "", HERE, "KEY KEY KEY KEY"),
        (ring(API_KEY="a"), "b", HERE, "KEY KEY KEY KEY"),
        (ring(API_KEY="a"), "a", HERE, "grant grant grant SCOPE"),
        (ring(API_KEY="a"), "a", AWAY, "grant REMOTE REMOTE SCOPE"),
        (ring(API_KEY="a"), "a", "", "grant REMOTE REMOTE SCOPE"),
        (ring(API_KEY="a", OPENQOE_READ_KEY="r"), "a", HERE, "grant SCOPE SCOPE SCOPE"),
        (ring(API_KEY="a", OPENQOE_READ_KEY="r"), "r", AWAY, "SCOPE grant grant SCOPE"),
        (ring(API_KEY="a", OPENQOE_READ_KEY="a"), "a", AWAY, "grant grant grant SCOPE"),
        (ring(OPENQOE_READ_KEY="r"), "", AWAY, "grant KEY KEY KEY"),
        (ring(FILE), "", HERE, "KEY KEY KEY KEY"),
        (ring(FILE), "web", HERE, "grant SCOPE SCOPE SCOPE"),
        (ring(FILE), "board", AWAY, "SCOPE grant SCOPE SCOPE"),
        (ring(FILE), "support", AWAY, "SCOPE grant grant SCOPE"),
        (ring(FILE), "old", HERE, "KEY KEY KEY KEY"),
        (ring(FILE), "admin", AWAY, "SCOPE SCOPE SCOPE grant"),
        (ring(FILE, API_KEY="a"), "a", HERE, "grant SCOPE SCOPE SCOPE"),
        (ring(FILE, API_KEY="old"), "old", HERE, "KEY KEY KEY KEY"),
    ],
)
def test_scopes_that_a_key_opens(keys: KeyRing, key: str, client: str, expected: str) -> None:
    assert " ".join(outcome(keys, scope, key, client) for scope in Scope) == expected


def test_first_offered_key_with_the_scope_is_used() -> None:
    keys = ring(FILE)
    offered = Request("GET", "/", "api_key=support", {"x-api-key": "web", "authorization": "board"})
    for scope, text in ((Scope.INGEST, "web"), (Scope.READ, "board"), (Scope.LOGS, "support")):
        grant = keys.authorize(offered, scope)
        assert isinstance(grant, Grant)
        assert grant.text == text


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses_count_as_this_machine(client: str) -> None:
    keys = ring(API_KEY="a")
    assert isinstance(keys.authorize(request("a", client), Scope.READ), Grant)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        *((host, True) for host in ("", "localhost", "LOCALHOST:80", "127.0.0.1:8787", "[::1]:1")),
        *((host, False) for host in ("qoe.example", "10.0.0.4", "worker", "[::2]", "a b")),
    ],
)
def test_loopback_request_for_another_host_name_came_through_a_proxy(
    host: str, is_local: bool
) -> None:
    found = ring(API_KEY="a").authorize(request("a", HERE, host=host), Scope.READ)
    assert isinstance(found, Grant) == is_local
    assert is_local or found is Refusal.REMOTE


@pytest.mark.parametrize(
    "header",
    [
        *("x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_forwarded", "forwarded"),
        *("x_real_ip", "via", "cf_connecting_ip", "true_client_ip", "x_client_ip"),
    ],
)
def test_request_that_a_proxy_forwarded_is_not_from_this_machine(header: str) -> None:
    keys = ring(API_KEY="a")
    forwarded = request("a", HERE, **{header: HERE})
    assert keys.authorize(forwarded, Scope.READ) is Refusal.REMOTE


@pytest.mark.parametrize(
    "host",
    [
        *("", "localhost", "LOCALHOST:8787", "worker", "worker:80", "10.0.0.4", "127.0.0.1:8787"),
        *("[::1]:8787", "[2001:db8::1]", "qoe.local", "a.localhost", "qoe.svc.cluster.local:80"),
        *("qoe.internal", "qoe.home.arpa", "Good.example:8787"),
    ],
)
def test_private_host_names_open_reads_without_a_key(host: str) -> None:
    keys = ring(OPENQOE_ALLOWED_HOSTS="good.example")
    assert isinstance(keys.authorize(request(host=host), Scope.READ), Grant)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8787", "10.0.0.4.evil.example"),
        *("127.0.0.1.nip.io", "good.example.evil.example", "evillocal.com", "evil.example."),
        *("localhost.evil.example", "1.2.3", "[::1].evil.example", "x@localhost", "local/evil"),
    ],
)
def test_other_host_names_do_not(host: str) -> None:
    keys = ring(OPENQOE_ALLOWED_HOSTS="good.example")
    assert keys.authorize(request(host=host), Scope.READ) is Refusal.HOST


def test_host_name_does_not_matter_with_a_key() -> None:
    keys = ring(OPENQOE_READ_KEY="r")
    assert isinstance(keys.authorize(request("r", host="any.example"), Scope.READ), Grant)


def test_update_replaces_the_keys_of_the_file_only() -> None:
    keys = ring(FILE, API_KEY="a")
    assert keys.update(document(new={}))
    assert not keys.update(document(new={}))
    assert [outcome(keys, Scope.INGEST, key) for key in ("a", "new", "web")] == [
        *("grant", "grant", "KEY")
    ]


def test_invalid_update_keeps_the_keys() -> None:
    keys = ring(FILE)
    with pytest.raises(KeysFileError):
        keys.update(b"[{}]")
    assert outcome(keys, Scope.INGEST, "web") == "grant"

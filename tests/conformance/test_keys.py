"""Keys, routes and organisations in every host: who may do what, and reload of the file."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_builders import batch, event
from tests.support.hosts import Host
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess


def document(**entries: dict[str, Any]) -> str:
    """A keys file: the keyword is the key's text and its name."""
    return json.dumps(
        [
            {"sha256": sha256(text.encode()).hexdigest(), "name": text, **entry}
            for text, entry in entries.items()
        ]
    )


KEYS: dict[str, dict[str, Any]] = {
    "web": {"scopes": ["ingest"]},
    "acme": {"scopes": ["ingest"], "orgs": ["acme"]},
    "board": {"scopes": ["read"]},
    "support": {"scopes": ["read", "logs"], "orgs": ["acme"]},
    "old": {"scopes": ["ingest", "read", "logs"], "revoked": True},
    "admin": {"scopes": ["admin"]},
}


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(document(**KEYS))
    return path


@pytest.fixture(scope="module")
def scoped(host: Host, keys_file: Path) -> Iterator[WorkerProcess]:
    with host.run({"OPENQOE_KEYS_FILE": str(keys_file), "OPENQOE_FLUSH_INTERVAL": "0"}) as worker:
        yield worker


def events(org: str) -> bytes:
    return batch(event(at=int(time.time() * 1000), org_id=org))


ROUTES = (
    *(("POST", "/events", "acme"), ("POST", "/events", "rival"), ("GET", "/stats", "")),
    *(("GET", "/dashboard/api/overview", ""), ("GET", "/dashboard/api/tail", "")),
    *(("GET", "/metrics", ""), ("GET", "/health", ""), ("POST", "/admin/erase", "")),
)

MATRIX = {
    #          acme rival stats overview tail metrics health erase
    "": (401, 401, 401, 401, 401, 200, 200, 401),
    "unknown": (401, 401, 401, 401, 401, 200, 200, 401),
    "old": (401, 401, 401, 401, 401, 200, 200, 401),
    "web": (202, 202, 403, 403, 403, 200, 200, 403),
    "acme": (202, 400, 403, 403, 403, 200, 200, 403),
    "board": (403, 403, 200, 200, 403, 200, 200, 403),
    "support": (403, 403, 403, 200, 200, 200, 200, 403),
    "admin": (403, 403, 403, 403, 403, 200, 200, 400),  # 400: the body is empty
}


@pytest.mark.parametrize("key", MATRIX)
def test_key_opens_the_routes_of_its_scopes(scoped: WorkerProcess, key: str) -> None:
    found = []
    for method, path, org in ROUTES:
        body = events(org) if org else b"" if method == "POST" else None
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        status, answered, _ = scoped.request(method, path, body, headers)
        found.append(status)
        if path in ("/stats", "/metrics", "/admin/erase"):
            assert not [name for name in answered if name.startswith("access-control-")]
    assert tuple(found) == MATRIX[key]


def test_reader_sees_the_events_of_its_organisation_only(scoped: WorkerProcess) -> None:
    now = int(time.time() * 1000)
    both = batch(*(event(at=now, org_id=org, view_id=f"{org}-seen") for org in ("acme", "rival")))
    assert scoped.request("POST", "/events", both, {"X-API-Key": "web"})[0] == 202
    support = {"X-API-Key": "support"}

    def orgs() -> set[str]:
        body = scoped.request("GET", "/dashboard/api/tail", None, support)[2]
        return {entry["org_id"] for entry in json.loads(body)["entries"]}

    wait_until(lambda: orgs() == {"acme"}, 15)
    for question in ("tail?contains=rival", "filters", "breakdown?by=org_id", "overview"):
        body = scoped.request("GET", f"/dashboard/api/{question}", None, support)[2]
        assert b'"rival"' not in body


def test_erased_viewer_is_found_nowhere_while_the_worker_runs(scoped: WorkerProcess) -> None:
    now, viewer = int(time.time() * 1000), "viewer-to-be-forgotten"
    sent = batch(
        event("playing", at=now, org_id="acme", viewer_id=viewer, view_id="v-1"),
        event("playing", at=now, org_id="acme", viewer_id="who-stays", view_id="v-2"),
    )
    assert scoped.request("POST", "/events", sent, {"X-API-Key": "web"})[0] == 202
    wait_until(lambda: viewer in stored_bytes(scoped), 15)
    asked = json.dumps({"org_id": "acme", "viewer_id": viewer}).encode()
    headers = {"X-API-Key": "admin", "Content-Type": "application/json"}
    status, _, body = scoped.request("POST", "/admin/erase", asked, headers)
    answer = json.loads(body)
    assert (status, answer["is_complete"]) == (200, True), answer
    results = {step["place"]: step["result"] for step in answer["steps"]}
    assert results["embedded store"] == "1 events deleted"
    left = stored_bytes(scoped)
    assert viewer not in left
    assert "who-stays" in left


def stored_bytes(worker: WorkerProcess) -> str:
    """The bytes of all files of the data directory."""
    found = b""
    for path in worker.data.rglob("*"):
        with suppress(FileNotFoundError):  # the worker removes segments of its journal
            found += path.read_bytes() if path.is_file() else b""
    return found.decode("latin-1")


def test_changed_file_is_loaded_again(scoped: WorkerProcess, keys_file: Path) -> None:
    def status(key: str) -> int:
        return scoped.request("GET", "/dashboard/api/overview", None, {"X-API-Key": key})[0]

    try:
        keys_file.write_text("[{}]")
        wait_until(lambda: has_logged(scoped, "keys file cannot be used; the keys before stay"), 15)
        assert status("support") == 200
        keys_file.write_text(document(**KEYS, late={"scopes": ["read"]}))
        wait_until(lambda: status("late") == 200, 15)
    finally:
        keys_file.write_text(document(**KEYS))


def has_logged(worker: WorkerProcess, event: str) -> bool:
    return any(line["event"] == event for line in worker.log_records())


def test_ingest_key_alone_reads_from_this_machine_only(host: Host) -> None:
    with host.run({"API_KEY": "k"}) as worker:
        for path in ("/stats", "/dashboard/api/overview"):
            assert worker.request("GET", path, None, {"X-API-Key": "k"})[0] == 200
            # waitress removes X-Forwarded-For; a proxy passes the public name as well.
            proxied = {"X-API-Key": "k", "X-Forwarded-For": "203.0.113.7", "Host": "qoe.example"}
            assert worker.request("GET", path, None, proxied)[0] == 403


def test_host_name_of_a_rebinding_attack_is_refused_without_a_key(worker: WorkerProcess) -> None:
    for path in ("/stats", "/", "/dashboard/api/tail"):
        assert worker.request("GET", path, None, {"Host": "evil.example"})[0] == 403
        assert worker.request("GET", path, None, {"Host": "localhost"})[0] == 200
    assert worker.request("GET", "/health", None, {"Host": "evil.example"})[0] == 200

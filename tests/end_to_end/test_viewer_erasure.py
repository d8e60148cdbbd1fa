"""Erasure of a viewer with real files: nothing of the viewer is left, and everybody else stays."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from openqoe.core.access.api_key import key_digest
from tests.embedded.stored_rig import rows
from tests.support.event_builders import batch, event
from tests.support.loki_double import LokiDouble
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess, serve, with_options

VIEWER = "viewer-to-be-forgotten"
SETTINGS = {"OPENQOE_FLUSH_INTERVAL": "1"}


def send(worker: WorkerProcess, viewer: str, *views: str, org: str = "acme") -> None:
    now = int(time.time() * 1000)
    events = (
        event("playing", at=now, viewer_id=viewer, view_id=view, org_id=org) for view in views
    )
    assert worker.post(batch(*events), **{"X-API-Key": "k"})[0] == 202


def files_with(folder: Path, text: str) -> list[str]:
    """Files of a folder that hold a text."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def viewers(worker: WorkerProcess) -> list[str]:
    found = rows(worker.data, "SELECT line FROM entries")
    return sorted(json.loads(line)["viewer_id"] for (line,) in found)


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_erased_viewer_is_found_nowhere_in_the_data_directory(ending: str) -> None:
    with WorkerProcess(SETTINGS) as worker:
        send(worker, VIEWER, "v-1", "v-2")
        send(worker, "other", "v-3")
        wait_until(lambda: len(viewers(worker)) == 3, 20)
        send(worker, VIEWER, "v-4")  # still in the journal, if the worker is killed now
        if ending == "killed":
            worker.kill()
        else:
            worker.stop(30)
        assert files_with(worker.data, VIEWER) != []
        output = worker.run_command("erase", "--org", "acme", "--viewer", VIEWER)
        assert "embedded store: 3 events deleted" in output
        assert files_with(worker.data, VIEWER) == []
        assert viewers(worker) == ["other"]


def test_viewer_of_another_organisation_with_the_same_id_stays() -> None:
    with WorkerProcess(SETTINGS) as worker:
        send(worker, "same", "v-1", org="acme")
        send(worker, "same", "v-2", org="rival")
        worker.stop(30)
        worker.run_command("erase", "--org", "acme", "--viewer", "same")
        left = rows(worker.data, "SELECT line FROM entries")
        assert [json.loads(line)["org_id"] for (line,) in left] == ["rival"]


@pytest.mark.parametrize("asks", ["command", "request"])
def test_running_workers_erase_a_viewer_in_all_slots(tmp_path: Path, asks: str) -> None:
    entry = {"sha256": key_digest("k").hex(), "name": "all", "scopes": ["admin", "ingest"]}
    (tmp_path / "keys.json").write_text(json.dumps([entry]))
    settings = {
        "OPENQOE_FLUSH_INTERVAL": "60",
        "OPENQOE_KEYS_FILE": str(tmp_path / "keys.json"),
    }
    with WorkerProcess(settings, command=with_options(serve, "--workers", "2")) as worker:
        wait_until(lambda: worker.log_text().count('"serving"') == 2, 20)
        for number in range(12):
            send(worker, VIEWER, f"v-{number}")
        send(worker, "other", "v-other")
        if asks == "command":
            text = worker.run_command("erase", "--org", "acme", "--viewer", VIEWER, "--json")
            steps = json.loads(text[text.index("[") :])
        else:
            body = json.dumps({"org_id": "acme", "viewer_id": VIEWER}).encode()
            answer = worker.request("POST", "/admin/erase", body, {"x-api-key": "k"})[2]
            steps = json.loads(answer)["steps"]
        assert {step["place"] for step in steps if not step["is_complete"]} == set()
        assert files_with(worker.data, VIEWER) == []
        assert viewers(worker) == ["other"]


def test_loki_is_asked_to_delete_after_what_waits_was_delivered() -> None:
    with LokiDouble() as loki:
        settings = {**SETTINGS, "LOKI_URL": loki.push_url, "OPENQOE_TENANT": "team"}
        with WorkerProcess(settings) as worker:
            send(worker, VIEWER, "v-1")
            worker.kill()
            worker.run_command("erase", "--org", "acme", "--viewer", VIEWER, status=1)
            *pushes, asked, asked_again = loki.requests
            assert pushes, "the journal was delivered first"
            assert all("/push" in push.path for push in pushes)
            for request in (asked, asked_again):  # for its label, and for the one it may share
                assert request.path.startswith("/loki/api/v1/delete?query=")
                assert request.headers["x-scope-orgid"] == "team"
            assert files_with(worker.data, VIEWER) == []

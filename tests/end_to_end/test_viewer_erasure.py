"""Erasure of a viewer with real files: nothing of the viewer is left, and everybody else stays."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.embedded.stored_rig import rows
from tests.support.event_builders import batch, event
from tests.support.loki_double import LokiDouble
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess

VIEWER = "viewer-to-be-forgotten"
SETTINGS = {"OPENQOE_FLUSH_INTERVAL": "1"}


def send(worker: WorkerProcess, viewer: str, *views: str, org: str = "acme") -> None:
    now = int(time.time() * 1000)
    events = (
        event("playing", at=now, viewer_id=viewer, view_id=view, org_id=org) for view in views
    )
    assert worker.post(batch(*events))[0] == 202


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


def test_running_worker_is_named_and_its_stored_events_are_erased() -> None:
    with WorkerProcess(SETTINGS) as worker:
        send(worker, VIEWER, "v-1")
        wait_until(lambda: len(viewers(worker)) == 1, 20)
        text = worker.run_command("erase", "--org", "acme", "--viewer", VIEWER, "--json", status=1)
        steps = {step["place"]: step for step in json.loads(text[text.index("[") :])}
        assert not steps["slot 0"]["is_complete"]
        assert steps["embedded store"]["result"].startswith("1 events deleted")
        assert viewers(worker) == []
        send(worker, "later", "v-2")
        wait_until(lambda: viewers(worker) == ["later"], 20)


def test_loki_is_asked_to_delete_after_what_waits_was_delivered() -> None:
    with LokiDouble() as loki:
        settings = {**SETTINGS, "LOKI_URL": loki.push_url, "OPENQOE_TENANT": "team"}
        with WorkerProcess(settings) as worker:
            send(worker, VIEWER, "v-1")
            worker.kill()
            worker.run_command("erase", "--org", "acme", "--viewer", VIEWER, status=1)
            *pushes, asked = loki.requests
            assert pushes, "the journal was delivered first"
            assert asked.path.startswith("/loki/api/v1/delete?query=")
            assert asked.headers["x-scope-orgid"] == "team"
            assert files_with(worker.data, VIEWER) == []

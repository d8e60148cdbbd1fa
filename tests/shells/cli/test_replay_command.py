"""``openqoe replay`` against a running worker."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import captures, cmcd_captures, fork_server
from tests.support.event_builders import NOW, event
from tests.support.http_double import HttpDouble, ReceivedRequest, Reply
from tests.support.loki_double import LokiDouble
from tests.support.services import free_port, wait_until
from tests.support.worker_process import WorkerProcess, serve

OPENQOE = (sys.executable, "-m", "openqoe.shells")


@pytest.fixture(scope="module")
def loki() -> Iterator[LokiDouble]:
    with LokiDouble() as double:
        yield double


@pytest.fixture(scope="module")
def worker(loki: LokiDouble) -> Iterator[WorkerProcess]:
    settings = {"OPENQOE_FLUSH_INTERVAL": "0.2", "LOKI_URL": loki.push_url, "API_KEY": "secret"}
    with WorkerProcess(settings, command=serve) as worker:
        yield worker


def replay(
    *arguments: str, stdin: bytes = b"", status: int = 0, **environment: str
) -> tuple[str, str]:
    """Output and errors of the command."""
    settings = {**os.environ, "API_KEY": "secret", **environment}
    ended = fork_server.run((*OPENQOE, "replay", *arguments), settings, stdin)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout, ended.stderr


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def logged(loki: LokiDouble, view: str, at_least: int = 1) -> list[dict[str, Any]]:
    """The events of a view in Loki."""

    def found() -> list[dict[str, Any]]:
        return [json.loads(e.line) for e in loki.entries() if view in e.line]

    wait_until(lambda: len(found()) >= at_least, description="the logs")
    return found()


class BusyWorker(HttpDouble):
    """Accepts every batch, unless ``fail_with`` is set."""

    def respond(self, request: ReceivedRequest) -> Reply:
        return Reply(202, b'{"success":true,"events_received":1}')


@pytest.mark.parametrize("name", ["sdk1-shaka", "sdk2-hlsjs"])
def test_recording_of_real_players_is_accepted_completely(
    name: str, worker: WorkerProcess, loki: LokiDouble
) -> None:
    capture = captures.load(name)
    file = captures.DIRECTORY / f"{name}.ndjson.gz"
    output, errors = replay(str(file), "--shift-time", "now", "--url", worker.url)
    sent = len(capture.posts)
    events = sum(len(request.events) for request in capture.posts)
    assert f"{sent} of {sent} batches sent, {events} events accepted" in output
    assert errors == ""
    last = capture.unique_events()[-1]
    expected = [e for e in capture.unique_events() if e["view_id"] == last["view_id"]]
    found = logged(loki, last["view_id"], len(expected))
    assert len(found) == len(expected)
    now = time.time() * 1000
    assert now - 60_000 < max(e["event_time"] for e in found) <= now


@pytest.mark.parametrize("name", cmcd_captures.NAMES)
def test_recording_of_cmcd_is_accepted_completely(
    name: str, worker: WorkerProcess, loki: LokiDouble
) -> None:
    file = captures.DIRECTORY / f"{name}.ndjson.gz"
    target = f"{worker.url}/v1/cmcd?org_id={name}&player_id=web"
    output, errors = replay(str(file), "--shift-time", "now", "--url", target)
    sent, records = len(cmcd_captures.posts(name)), len(cmcd_captures.records(name))
    assert f"{sent} of {sent} batches sent, {records} events accepted" in output
    assert errors == ""
    assert {line["org_id"] for line in logged(loki, name)} == {name}


def test_single_events_are_read_from_standard_input(
    worker: WorkerProcess, loki: LokiDouble
) -> None:
    now = int(time.time() * 1000)
    text = lines(*(event(view_id=f"single-{n}", at=now - n) for n in range(25)))
    output, _ = replay("-", "--url", worker.url, "--batch", "10", stdin=gzip.compress(text))
    assert "3 of 3 batches sent, 25 events accepted" in output
    assert len(logged(loki, "single-7")) == 1


def test_replay_with_speed_has_the_pace_of_the_recording(worker: WorkerProcess) -> None:
    now = int(time.time() * 1000)
    text = lines(
        *(
            {"t": t, "body": lines({"events": [event(at=now - 3000 + t)]}).decode()}
            for t in (0, 3000)
        )
    )
    began = time.monotonic()
    replay("-", "--url", worker.url, "--speed", "2", stdin=text)
    assert 1.5 <= time.monotonic() - began < 30


def test_replay_shifted_to_now_sends_no_event_of_the_future(
    worker: WorkerProcess, loki: LokiDouble
) -> None:
    text = lines(*({"events": [event(view_id="along", at=10**12 + t)]} for t in (0, 4_000)))
    replay("-", "--url", worker.url, "--speed", "4", "--shift-time", "now", stdin=text)
    now = time.time() * 1000
    first, last = sorted(e["event_time"] for e in logged(loki, "along", 2))
    assert last - first == 4_000
    assert now - 2_000 < last <= now


def test_faults_are_reported_by_line_and_the_rest_is_sent(worker: WorkerProcess) -> None:
    now = int(time.time() * 1000)
    good = event(view_id="beside", at=now)
    text = lines({"events": [good, event(at=1)]}, 5, {"events": []}, {"body": "nonsense"}) + b"{\n"
    output, errors = replay("-", "--url", worker.url, stdin=text, status=1)
    assert "3 of 3 batches sent, 1 events accepted" in output
    assert "1 events refused, 2 batches refused, 2 lines not usable" in output
    reported = errors.splitlines()
    assert [line.partition(":")[0] for line in reported] == [
        "line 2",
        "line 5",
        "line 1",
        "line 3",
        "line 4",
    ]
    assert "event_time" in errors


def test_replay_without_key_stops_at_the_first_batch(worker: WorkerProcess) -> None:
    text = lines(*({"events": [event()]} for _ in range(5)))
    output, errors = replay("-", "--url", worker.url, stdin=text, status=1, API_KEY="")
    assert "0 of 5 batches sent" in output
    assert "stopped before the end: line 1: the worker answers 401 Unauthorized" in errors


def test_batches_are_retried_while_the_worker_is_busy() -> None:
    text = lines(*({"events": [event(at=NOW - n)]} for n in range(3)))
    with BusyWorker() as busy:
        busy.fail_with(503, headers={"Retry-After": "1"})
        busy.drop_connection()
        began = time.monotonic()
        output, errors = replay("-", "--url", busy.url, stdin=text)
        assert time.monotonic() - began > 1
    assert (len(busy.requests), errors) == (5, "")
    assert len({request.body for request in busy.requests}) == 3
    assert "3 of 3 batches sent, 3 events accepted" in output


def test_replay_stops_when_the_worker_stays_unreachable(worker: WorkerProcess) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    text = lines({"events": [event()]})
    output, errors = replay("-", "--url", url, "--patience", "0.5", stdin=text, status=1)
    assert "0 of 1 batches sent" in output
    assert "line 1: [Errno 111] Connection refused" in errors


def test_interrupted_replay_prints_its_counts(worker: WorkerProcess) -> None:
    text = lines(*({"t": t, "body": lines({"events": [event()]}).decode()} for t in (0, 60_000)))
    before = worker.count_events()
    process = subprocess.Popen(
        [*OPENQOE, "replay", "-", "--url", worker.url, "--speed", "1", "--shift-time", "now"],
        env={**os.environ, "API_KEY": "secret"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None
    wait_until(lambda: worker.count_events() > before, description="the first batch")
    time.sleep(0.5)  # until it has read the answer
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=10)
    assert b"1 of 2 batches sent" in output
    assert b"interrupted" in errors
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.ndjson",), "nowhere.ndjson"),
        (("-", "--url", "example.com"), "not an http or https URL"),
        (("-", "--url", "http://["), "not an http or https URL"),
        (("-", "--shift-time", "soon"), 'neither "now" nor a duration'),
        (("-", "--speed", "-1"), "--speed"),
    ],
)
def test_invalid_argument_exits_with_2(arguments: tuple[str, ...], words: str) -> None:
    output, errors = replay(*arguments, status=2)
    assert output == ""
    assert words in errors

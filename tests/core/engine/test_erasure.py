"""Erasure over HTTP while a worker runs: who may, in which order, and what the answer lists."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest

from openqoe.core import Config, Worker
from openqoe.core.access.api_key import key_digest
from openqoe.core.effects import (
    Effect,
    Erased,
    EraseInSlots,
    EraseViewer,
    ErasureStep,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    Persist,
    RemoteWrite,
    Respond,
    RewriteStorage,
    Stored,
    StoreViews,
)
from openqoe.core.engine.erasure import FORWARD_WAIT, MAX_WAIT, decode_steps, encode_request
from openqoe.core.http.messages import Request, Response
from openqoe.embedded.payload_decoder import decode_views
from tests.core.cluster.test_partition import name_view
from tests.support.disk import Disk
from tests.support.event_builders import NOW, batch, event
from tests.support.fleet import Fleet
from tests.support.rig import player_event

KEYS = json.dumps(
    [
        {"sha256": key_digest(name).hex(), "name": name, **entry}
        for name, entry in {
            "web": {"scopes": ["ingest"]},
            "board": {"scopes": ["read", "logs"]},
            "admin": {"scopes": ["admin"]},
            "acme-admin": {"scopes": ["admin"], "orgs": ["acme"]},
        }.items()
    ]
).encode()
JANE = {"org_id": "acme", "viewer_id": "jane"}


class Running:
    """A worker with a disk and an embedded store beside Loki.

    Attributes:
        order: Names of what left the worker, in order.
        away: Results of requests to destinations that fail.
        in_slots: Result of the erasure in other slots.
        answers: The answers by request.
    """

    def __init__(self, **settings: str) -> None:
        self.now = NOW
        self.disk = Disk()
        config = Config.from_environment(
            {
                "LOKI_URL": "http://loki.test/loki/api/v1/push",
                "OPENQOE_EMBEDDED": "on",
                "OPENQOE_KEYS_FILE": "keys.json",
                **settings,
            }
        )
        self.worker = Worker(config, instance="w-0", durable=True, embedded=True, keys=KEYS)
        self.order: list[str] = []
        self.away: dict[str, HttpResult | NetworkFailure] = {}
        self.answers: dict[int, Response] = {}
        self.in_slots: Erased | NetworkFailure = Erased(())
        self.rows: list[Any] = []
        self.held: list[EraseViewer] = []
        self.holds_erasure = False
        self.slow_checkpoints: list[Persist] | None = None  # that are being written
        self.requests = 0
        self.run(self.worker.poll(NOW))

    def ask(self, path: str, key: str, body: bytes) -> int:
        """Send a request; returns its number."""
        self.requests += 1
        headers = {"x-api-key": key, "content-type": "application/json"}
        request = Request("POST", path, "", headers, body)
        self.run(self.worker.handle(self.requests, request, self.now))
        return self.requests

    def play(self, viewer: str, view: str) -> None:
        sent = event("playing", at=self.now, org_id="acme", viewer_id=viewer, view_id=view)
        number = self.ask("/events", "web", batch(sent))
        assert self.answers[number].status == 202

    def erase(self, key: str = "admin", asked: Any = JANE) -> int:
        return self.ask("/admin/erase", key, json.dumps(asked).encode())

    def pass_time(self, ms: int) -> None:
        until = self.now + ms
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.now = max(self.now, due)
            self.run(self.worker.poll(self.now))
        self.now = until

    def steps(self, number: int) -> dict[str, Any]:
        """The steps of an answer by place."""
        return {step["place"]: step for step in json.loads(self.answers[number].body)["steps"]}

    def run(self, effects: Iterable[Effect]) -> None:
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            result: Any = None
            match effect:
                case Respond():
                    assert effect.request_id not in self.answers
                    self.answers[effect.request_id] = effect.response
                case Notice():
                    pass
                case EraseViewer():
                    self.order.append("erase")
                    if self.holds_erasure:
                        self.held.append(effect)
                        continue
                    assert effect.org_id == "acme"
                    result = Erased((ErasureStep("embedded store", True, "1 events deleted"),))
                case EraseInSlots():
                    self.order.append("slots")
                    result = self.in_slots
                case RewriteStorage():
                    self.order.append("rewrite")
                    result = Stored()
                case RemoteWrite() | LokiPush() | StoreViews():
                    kind = "delete" if "/delete?" in effect.url else effect.destination
                    self.order.append(kind)
                    result = self.away.get(kind, HttpResult(204))
                    if isinstance(effect, StoreViews) and isinstance(result, HttpResult):
                        self.rows += decode_views(effect.body)
                case Persist() if self.slow_checkpoints is not None:
                    self.slow_checkpoints.append(effect)
                    continue
                case _:
                    result = self.disk.execute(effect)  # type: ignore[arg-type]
            if hasattr(effect, "id"):
                waiting += self.worker.complete(effect.id, result, self.now)


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("unknown", 401), ("web", 403), ("board", 403)]
)
def test_other_keys_than_those_of_admins_are_refused(key: str, status: int) -> None:
    running = Running()
    assert running.answers[running.erase(key)].status == status
    running.pass_time(MAX_WAIT)
    assert "erase" not in running.order


def test_nobody_may_erase_where_no_key_is_set() -> None:
    worker = Worker(Config(), instance="w-0", embedded=True)
    request = Request("POST", "/admin/erase", "", {}, json.dumps(JANE).encode())
    (answer,) = [one for one in worker.handle(1, request, NOW) if isinstance(one, Respond)]
    assert answer.response.status == 401


def test_admin_of_an_organisation_erases_its_viewers_only() -> None:
    running = Running()
    refused = running.erase("acme-admin", {"org_id": "rival", "viewer_id": "jane"})
    assert running.answers[refused].status == 403
    allowed = running.erase("acme-admin")
    running.pass_time(1)
    assert running.answers[allowed].status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"org_id":"a"}', b'{"org_id":"","viewer_id":"b"}', b"\xff", b"[" * 9999,
     b'{"org_id":"a","viewer_id":"b","view_id":"c"}',
     b'{"org_id":"a","viewer_id":"' + b"x" * 5000 + b'"}'],
)  # fmt: skip
def test_body_without_an_organisation_and_a_viewer_is_rejected(body: bytes) -> None:
    running = Running()
    assert running.answers[running.ask("/admin/erase", "admin", body)].status == 400


def test_all_that_waits_is_delivered_before_anything_is_deleted() -> None:
    running = Running()
    running.play("jane", "v-1")
    running.order.clear()
    number = running.erase()
    running.pass_time(1)
    assert running.order[0] == "slots"
    deletions = running.order[running.order.index("rewrite") :]
    assert sorted(deletions) == ["delete", "erase", "rewrite"]
    assert {"loki", "embedded_logs", "embedded_views"} <= set(running.order)
    assert not running.disk.journal
    assert not running.disk.outbox
    answer = json.loads(running.answers[number].body)
    assert (answer["success"], answer["is_complete"]) == (True, True)
    assert set(running.steps(number)) == {"data directory", "embedded store", "loki", "metrics"}


def test_flush_after_each_request_needs_no_interval() -> None:
    running = Running(OPENQOE_FLUSH_INTERVAL="0")
    running.play("jane", "v-1")
    number = running.erase()
    running.pass_time(1)
    assert json.loads(running.answers[number].body)["is_complete"]


@pytest.mark.parametrize("interval", ["0", "10"])
def test_request_during_a_slow_checkpoint_is_answered_after_it(interval: str) -> None:
    running = Running(OPENQOE_FLUSH_INTERVAL=interval)
    running.slow_checkpoints = []
    running.play("jane", "v-1")
    running.pass_time(10_000)
    (checkpoint,) = running.slow_checkpoints
    number = running.erase()
    running.pass_time(500)
    assert number not in running.answers
    running.slow_checkpoints = None
    running.run(running.worker.complete(checkpoint.id, Stored(), running.now))
    running.pass_time(1)
    assert json.loads(running.answers[number].body)["is_complete"]


def test_later_rows_and_snapshots_of_a_live_view_do_not_name_its_viewer() -> None:
    running = Running(OPENQOE_VIEW_TIMEOUT="60")
    running.play("jane", "v-1")
    running.play("other", "v-2")
    running.erase()
    running.pass_time(1)
    assert {row.view_id: row.viewer_id for row in running.rows} == {"v-1": None, "v-2": "other"}
    running.rows.clear()
    running.pass_time(300_000)  # both views end
    assert {row.view_id: row.viewer_id for row in running.rows} == {"v-1": None, "v-2": None}
    worker = Worker(running.worker.config, instance="w-0", durable=True, embedded=True, keys=KEYS)
    assert running.disk.snapshot is not None
    worker.restore(running.disk.snapshot)
    snapshots = [worker.snapshot(), running.worker.snapshot()]
    for snapshot in snapshots:
        plain = zlib.decompress(snapshot[10:])
        assert b"v-1" in plain
        assert b"jane" not in plain


def test_destination_that_is_down_makes_the_erasure_incomplete() -> None:
    running = Running()
    running.away = {"loki": NetworkFailure("refused"), "delete": HttpResult(500, {}, b"no")}
    running.play("jane", "v-1")
    number = running.erase()
    running.pass_time(MAX_WAIT - 1)
    assert number not in running.answers
    running.pass_time(1)
    assert json.loads(running.answers[number].body)["is_complete"] is False
    steps = running.steps(number)
    assert steps["queue of loki"]["result"].startswith("1 items wait for delivery")
    assert steps["loki"]["result"].startswith("deletion refused with 500: no")
    assert steps["embedded store"]["is_complete"]


def test_only_one_erasure_runs_at_a_time() -> None:
    running = Running()
    running.holds_erasure = True
    first, second = running.erase(), running.erase()
    assert running.answers[second].status == 503
    running.pass_time(1)
    (held,) = running.held
    failed = NetworkFailure("OSError")
    running.run(running.worker.complete(held.id, failed, running.now))
    assert running.steps(first)["embedded store"]["result"] == "failed: OSError"
    running.holds_erasure = False
    third = running.erase()
    running.pass_time(1)
    assert running.answers[third].status == 200


def test_worker_that_stops_answers_an_open_erasure() -> None:
    running = Running()
    running.holds_erasure = True
    number = running.erase()
    running.run(running.worker.close(running.now))
    assert running.answers[number].status == 503


def test_steps_of_other_slots_are_in_the_answer() -> None:
    running = Running()
    running.in_slots = Erased((ErasureStep("slot-1", False, "its worker cannot be reached"),))
    number = running.erase()
    running.pass_time(1)
    assert json.loads(running.answers[number].body)["is_complete"] is False
    assert running.steps(number)["slot-1"]["result"] == "its worker cannot be reached"
    running.in_slots = NetworkFailure("OSError")
    number = running.erase()
    running.pass_time(1)
    assert running.steps(number)["other slots"]["result"] == "failed: OSError"


# Requests of other workers


def ask_as_peer(running: Running, *, only_forward: bool) -> int:
    running.requests += 1
    body = encode_request("acme", ("jane",), only_forward=only_forward)
    running.run(running.worker.handle_peer(running.requests, body, running.now))
    return running.requests


def test_peer_is_answered_once_the_own_slot_is_erased() -> None:
    running = Running()
    running.play("jane", "v-1")
    running.order.clear()
    number = ask_as_peer(running, only_forward=False)
    running.pass_time(1)
    assert running.order[-1] == "rewrite"
    assert not {"slots", "erase", "delete"} & set(running.order)
    assert b"jane" not in zlib.decompress(running.worker.snapshot()[10:])
    (step,) = decode_steps(running.answers[number].body, "slot-3")
    assert (step.place, step.is_complete) == ("slot-3", True)


def test_peer_erasure_runs_beside_an_own_one() -> None:
    running = Running()
    running.holds_erasure = True
    running.erase()
    running.pass_time(1)
    number = ask_as_peer(running, only_forward=False)
    running.pass_time(1)
    assert running.answers[number].status == 200


def test_stopping_worker_refuses_the_erasure_of_a_peer() -> None:
    running = Running()
    running.worker.drain()
    assert running.answers[ask_as_peer(running, only_forward=True)].status == 503


@pytest.mark.parametrize("is_away", [False, True])
def test_worker_forwards_before_it_answers_a_peer(is_away: bool) -> None:
    fleet = Fleet(2, partitioned=True)
    if is_away:
        fleet.stop(1)
    fleet.post(0, player_event(0, "playing", 0.0, view=name_view(1, 2)))
    body = encode_request("acme", ("jane",), only_forward=True)
    answers = fleet.ask_as_peer(0, body)
    if is_away:
        assert answers == []
        fleet.pass_time(FORWARD_WAIT)
    assert [answer.status for answer in answers] == [200]
    assert fleet.workers[1].waiting_batches == (0 if is_away else 1)

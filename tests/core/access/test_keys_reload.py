"""Reloading of the keys file by a worker."""

from openqoe.core.access.keys_reload import RELOAD_INTERVAL
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Effect, KeysFile, Notice, ReadKeys
from openqoe.core.worker import Worker
from tests.core.access.test_key_ring import document
from tests.core.api.worker_client import ask
from tests.support.event_builders import NOW, batch, event

BEFORE = document(one={})
AFTER = document(two={})


def make() -> Worker:
    worker = Worker(Config(keys_file="/keys.json"), instance="k-0", keys=BEFORE)
    worker.poll(NOW)
    return worker


def reload(worker: Worker, content: bytes | None, now: int, reason: str = "") -> list[Notice]:
    """Poll when the file is due, and give the worker its content."""
    effects: list[Effect] = [*worker.poll(now)]
    (read,) = (effect for effect in effects if isinstance(effect, ReadKeys))
    effects = [*worker.complete(read.id, KeysFile(content, reason), now)]
    return [effect for effect in effects if isinstance(effect, Notice)]


def accepted(worker: Worker, key: str, now: int) -> bool:
    body = batch(event(at=now))
    answer = ask(worker, "/events", method="POST", headers={"x-api-key": key}, body=body, now=now)
    return answer.status == 202


def test_file_is_read_again_at_intervals() -> None:
    worker = make()
    due = worker.next_poll()
    assert due == NOW + RELOAD_INTERVAL
    assert not [e for e in worker.poll(due - 1) if isinstance(e, ReadKeys)]
    assert reload(worker, BEFORE, due) == []
    assert worker.next_poll() == due + RELOAD_INTERVAL


def test_worker_without_a_file_never_reads_one() -> None:
    worker = Worker(Config(flush_interval=0), instance="k-0")
    for minutes in range(3):
        effects = worker.poll(NOW + minutes * 60_000)
        assert not [effect for effect in effects if isinstance(effect, ReadKeys)]


def test_changed_file_replaces_the_keys() -> None:
    worker, due = make(), NOW + RELOAD_INTERVAL
    assert accepted(worker, "one", NOW)
    (notice,) = reload(worker, AFTER, due)
    assert (notice.level, notice.fields) == ("info", (("keys", 1),))
    assert not accepted(worker, "one", due)
    assert accepted(worker, "two", due)


def test_invalid_file_keeps_the_keys_and_is_reported_once() -> None:
    worker, due = make(), NOW + RELOAD_INTERVAL
    (notice,) = reload(worker, b"[", due)
    assert notice.level == "error"
    assert "OPENQOE_KEYS_FILE is not a JSON list" in str(notice.fields)
    assert accepted(worker, "one", due)
    assert reload(worker, b"[", due + RELOAD_INTERVAL) == []
    (gone,) = reload(worker, None, due + 2 * RELOAD_INTERVAL, "no such file")
    assert gone.fields == (("reason", "no such file"),)
    (valid,) = reload(worker, BEFORE, due + 3 * RELOAD_INTERVAL)
    assert (valid.level, valid.event) == ("info", "keys file is valid again")

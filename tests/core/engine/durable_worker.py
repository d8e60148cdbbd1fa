"""Builds workers with a disk, and lets them accept batches and write their records."""

from typing import Any, TypeVar

from openqoe.core import Config, Worker
from openqoe.core.effects import Append, Effect, StorageFailure, Stored
from openqoe.core.http.messages import Request
from openqoe.core.primitives.incremental import DEFAULT_BUDGET
from tests.support.event_builders import NOW, event, post
from tests.support.handling import complete, handle
from tests.support.rig import DESTINATIONS, FLUSH

DISK_FULL = StorageFailure("no space left", full=True)
NEXT_FLUSH = NOW + FLUSH
BUSY_VIEWS = 40
"""Views of a busy worker."""

T = TypeVar("T", bound=Effect)


def effects_of(kind: type[T], effects: tuple[Effect, ...]) -> list[T]:
    """Return the effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def make_worker(
    *, durable: bool = True, shared: bool = False, budget: int = DEFAULT_BUDGET, **settings: str
) -> Worker:
    """Create a worker that flushes every 15 s, and poll it for the first time."""
    config = Config.from_environment({**DESTINATIONS, "OPENQOE_FLUSH_INTERVAL": "15", **settings})
    worker = Worker(config, instance="p-0", durable=durable, shared=shared, budget=budget)
    worker.poll(NOW)
    return worker


def make_busy_worker(budget: int = 10, *, durable: bool = True, **settings: str) -> Worker:
    """Create a worker with some views, each with series of its own."""
    worker = make_worker(durable=durable, shared=False, budget=budget, **settings)
    for number in range(BUSY_VIEWS):
        journal_events(
            worker, event("heartbeat", at=NOW, view_id=f"v-{number}", player_id=f"p-{number}")
        )
    return worker


def journal_events(worker: Worker, *events: dict[str, Any]) -> None:
    """Let a worker accept a batch and write its record, if it writes any."""
    for effect in effects_of(Append, handle(worker, post(*events, now=NOW), NOW).effects):
        worker.complete(effect.id, Stored(), NOW)


def make_batch(number: int = 1, *, now: int = NOW) -> Request:
    """Create the batch of a number, with one event of a view of its own."""
    return post(event("viewstart", at=now, view_id=f"v{number}"), now=now)


def accept_batch(worker: Worker, number: int = 1, *, now: int = NOW) -> Append:
    """Let a worker accept a batch; returns the effect for which its answer waits."""
    outcome = handle(worker, make_batch(number, now=now), now)
    assert not outcome.answers, "answered before it was in the journal"
    (append,) = effects_of(Append, outcome.effects)
    return append


def journal_batch(worker: Worker, number: int = 1, *, now: int = NOW) -> Append:
    """Let a worker accept a batch and write its record."""
    append = accept_batch(worker, number, now=now)
    assert complete(worker, append.id, Stored(), now).response.status == 202
    return append

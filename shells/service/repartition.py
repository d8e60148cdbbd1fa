"""Moves the views of a data directory to other slots, while no worker runs.

The workers of all slots are opened here, one beside the other. They apply their journals and
forward what waits for each other; nothing goes to destinations. Once they are at rest, the core
copies views and deduplication windows (``core/engine/repartition``), and each writes a checkpoint.
"""

from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue

from openqoe.core.cluster.partition import Partition
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Append,
    Effect,
    Forget,
    Forward,
    HttpResult,
    LoadPayload,
    NetworkFailure,
    Notice,
    Persist,
    Respond,
)
from openqoe.core.worker import Worker, move_to_slots

from ..storage import Slot, Storage, StorageError
from ..storage.slot_storage import Results
from . import logs
from .clock import monotonic, now_ms
from .worker_recovery import create_worker, recover_worker

TIMEOUT = 60.0
"""Seconds without any progress after which the views stay where they are."""

WAIT = 0.02
"""Seconds to wait for the disk before the workers are polled again."""


def move_views(
    config: Config, slots: Sequence[Slot], before: int | None, after: int, log: logs.Log
) -> None:
    """Move each view to its owner of a new number of slots.

    The caller owns all slots of the data directory, and stores the new number afterwards.

    Args:
        config: The settings.
        slots: The slots, ascending from 0.
        before: The number of slots that own views; None if each worker owned all that it saw.
        after: The new number.
        log: The log.

    Raises:
        StorageError: A slot cannot be read or written. The old number stays in effect.
    """
    group = _Group()
    try:
        for slot in slots:
            partition = None if before is None else Partition(before, slot.number)
            group.add(config, slot, partition, log)
        group.finish_work()
        for member in group.members.values():
            member.run(member.worker.close(now_ms()))
        group.finish_work()
        move_to_slots([member.worker for member in group.members.values()], after)
        for member in group.members.values():
            member.run(member.worker.checkpoint(now_ms()))
        group.finish_work()
    finally:
        group.close()


class _Group:
    """The workers of all slots."""

    def __init__(self) -> None:
        self.members: dict[int, _Member] = {}

    def add(self, config: Config, slot: Slot, partition: Partition | None, log: logs.Log) -> None:
        worker = create_worker(config, slot, partition)
        storage = recover_worker(worker, config, slot, log)
        self.members[slot.number] = _Member(worker, storage, self.members, log)

    def finish_work(self) -> None:
        """Let all workers apply, forward and write what they have."""
        end = monotonic() + TIMEOUT
        while not all(member.is_at_rest for member in self.members.values()):
            progress = False
            for member in self.members.values():
                member.run(member.worker.poll(now_ms()))
                progress |= member.complete_stored()
            if progress:
                end = monotonic() + TIMEOUT
            failures = (member.worker.storage_failure for member in self.members.values())
            failure = next(filter(None, failures), "")
            if failure or monotonic() > end:
                raise StorageError(f"cannot move views to other slots: {failure or 'no progress'}")

    def close(self) -> None:
        for member in self.members.values():
            member.storage.close()


class _Member:
    """The worker of a slot."""

    def __init__(
        self, worker: Worker, storage: Storage, members: "dict[int, _Member]", log: logs.Log
    ) -> None:
        self.worker = worker
        self.storage = storage
        self._members = members
        self._log = log
        self._results: SimpleQueue[Results] = SimpleQueue()
        self._forwarded: dict[int, tuple[_Member, Forward]] = {}  # by id of the request
        self._requests = 0
        self._writing = 0
        storage.start(self._results.put)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits to be applied, forwarded or written."""
        return not self._writing and self.worker.is_at_rest

    def complete_stored(self) -> bool:
        """Process the results of storage effects; returns whether there were any."""
        try:
            results = self._results.get(timeout=WAIT if self._writing else 0.0)
        except Empty:
            return False
        for effect, result in results:
            self._writing -= 1
            self.run(self.worker.complete(effect.id, result, now_ms()))
        return True

    def run(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Append() | Persist() | LoadPayload() | Forget():
                    result = self.storage.submit(effect)
                    if isinstance(effect, Append) and result is not None:
                        self.run(self.worker.complete(effect.id, result, now_ms()))
                    elif not isinstance(effect, Forget):
                        self._writing += 1
                case Forward():
                    self._forward(effect)
                case Respond():
                    sender, request = self._forwarded.pop(effect.request_id)
                    answer = HttpResult(effect.response.status)
                    sender.run(sender.worker.complete(request.id, answer, now_ms()))
                case Notice():
                    logs.write_notice(self._log, effect)
                case _:
                    pass  # requests to destinations stay in the outbox

    def _forward(self, effect: Forward) -> None:
        owner = self._members.get(int(effect.destination.removeprefix("slot-")))
        if owner is None:
            failure = NetworkFailure("the slot does not exist")
            self.run(self.worker.complete(effect.id, failure, now_ms()))
            return
        owner._requests += 1
        owner._forwarded[owner._requests] = self, effect
        owner.run(owner.worker.handle_peer(owner._requests, effect.body, now_ms()))

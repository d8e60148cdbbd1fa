"""A whole service in one process: players, a worker, its disk and its receivers, under one clock.

Everything that can go wrong is drawn from one seed: the process dies before or after any write,
writes fail, answers of the receivers are late, lost, refusals or storms of errors, players send
again what was answered and what was not, the clock jumps. `World(seed).run()` is repeatable.
"""

from collections import Counter, deque
from random import Random

from openqoe.core import Config, HttpResult, Worker
from openqoe.core.effects import (
    AcceptedBatch,
    Append,
    Effect,
    Forget,
    KvResult,
    KvUpdate,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    PayloadBody,
    Persist,
    Record,
    RemoteWrite,
    StorageEffect,
    StorageFailure,
    StorageResult,
    Stored,
    StoredPayload,
)
from openqoe.core.worker import Outcome
from tests.support.events import NOW, event, post
from tests.support.loki import LokiDouble
from tests.support.receiver import RemoteWriteDouble
from tests.support.rig import DESTINATIONS, deliver
from tests.support.wire import decode_write_request


class Disk:
    """What survives. Effects are carried out in order, when the world says so."""

    def __init__(self) -> None:
        self.snapshot: bytes | None = None
        self.journal: dict[int, Record] = {}
        self.outbox: dict[int, StoredPayload] = {}
        self.batches: dict[bytes, AcceptedBatch] = {}
        self.last_record = 0
        self.last_payload = 0

    def carry_out(self, effect: StorageEffect) -> StorageResult:
        match effect:
            case Append(record=record):
                assert record.number > self.last_record, "a record's number was used twice"
                self.journal[record.number] = record
                self.last_record = record.number
            case Persist():
                self.snapshot = effect.snapshot
                for payload in effect.payloads:
                    assert payload.number not in self.outbox, "a payload was stored twice"
                    assert payload.body, "a payload was stored without its body"
                    self.outbox[payload.number] = payload
                    self.last_payload = max(self.last_payload, payload.number)
                for batch in effect.batches:
                    self.batches[batch.digest] = batch
                self.journal = {n: r for n, r in self.journal.items() if n > effect.through}
                self.last_record = max(self.last_record, effect.through)
            case LoadPayload(number=number):
                found = self.outbox.get(number)
                return PayloadBody(None if found is None else found.body)
            case Forget(numbers=numbers):
                for number in numbers:
                    self.outbox.pop(number, None)
        return Stored()

    def restore(self, config: Config, seed: int, now: int) -> Worker:
        worker = Worker(config, instance="sim-0", seed=seed, durable=True)
        if self.snapshot is not None:
            worker = Worker.restore(
                config, self.snapshot, instance="sim-0", seed=seed, durable=True
            )
        references = [
            StoredPayload(p.number, p.kind, p.headers, b"", p.size, p.items, p.created, p.thinnable)
            for _, p in sorted(self.outbox.items())
        ]
        batches = sorted(self.batches.values(), key=lambda batch: batch.at)
        worker.resume(references, batches, self.last_record, self.last_payload, now)
        for _, record in sorted(self.journal.items()):
            worker.replay(record)
        return worker


class Player:
    """Sends one batch until it is acknowledged, and now and then once more."""

    def __init__(self, number: int, now: int) -> None:
        self.number = number
        view = f"view-{number}"
        events = [
            event("viewstart", at=now, view_id=view),
            event("heartbeat", at=now, view_id=view, data={"playing_time": 1000 * (number + 1)}),
        ]
        self.request = post(*events, now=now)
        self.acknowledged = False


class World:
    """One seed's history.

    Attributes:
        faults: What went wrong so far, by kind.
        acknowledged: Batches answered 202.
    """

    def __init__(self, seed: int, steps: int = 70) -> None:
        self.random = Random(seed)
        self.steps = steps
        self.now = NOW
        self.latest = NOW
        self.config = Config.from_environment(
            {
                **DESTINATIONS,
                "OPENQOE_FLUSH_INTERVAL": self.random.choice(["1", "5", "15"]),
                "OPENQOE_LOKI_BATCH_BYTES": self.random.choice(["1024", "1MiB"]),
            }
        )
        self.disk = Disk()
        self.receiver = RemoteWriteDouble(now_ms=lambda: self.latest)
        self.loki = LokiDouble(now_ms=lambda: self.latest)
        self.players: list[Player] = []
        self.faults: Counter[str] = Counter()
        self.calm = False
        self._closing = False
        self.worker: Worker
        self._start()

    @property
    def acknowledged(self) -> int:
        return sum(player.acknowledged for player in self.players)

    def run(self) -> None:
        """Live through the history, then let everything heal, and see what came of it."""
        for _ in range(self.steps):
            self._step()
        self.calm = True
        self._heal()
        self.check()

    def check(self) -> None:
        """What was acknowledged is counted exactly once and logged exactly once."""
        batches = len(self.players)
        assert self.acknowledged == batches
        assert self.receiver.violations == []
        assert self.receiver.total("openqoe_views_started_total") == batches
        seconds = sum(player.number + 1 for player in self.players)
        assert self.receiver.total("openqoe_playing_time_seconds") == seconds
        lines = Counter(entry.line for entry in self.loki.entries())
        assert len(lines) == 2 * batches
        for labels, samples in self.receiver.samples.items():
            name = dict(labels)["__name__"]
            if name.endswith(("_total", "_count", "_bucket")):
                values = [value for _, value in samples if isinstance(value, float)]
                assert values == sorted(values), f"{name} went down"

    # What happens

    def _step(self) -> None:
        what = self.random.random()
        if what < 0.30:
            self.players.append(Player(len(self.players), self.now))
            self._send(self.players[-1])
        elif what < 0.38 and self.players:
            self.faults["batches sent again"] += 1
            self._send(self.random.choice(self.players))
        elif what < 0.60:
            self._write(self.random.randint(1, 3))
        elif what < 0.78:
            self._answer()
        elif what < 0.96:
            self.now += self.random.choice([10, 300, 1_000, 5_000])
            self._run(self.worker.poll(self.now))
        elif what < 0.97:
            self.faults["clock jumps"] += 1
            self.now += self.random.choice([-2_000, -200, 30_000])
        else:
            self._crash()

    def _heal(self) -> None:
        for player in self.players:
            self._settle_writes()
            if not player.acknowledged:
                self._send(player)
        for _ in range(3_000):
            self._settle_writes()
            while self.sending:
                self._answer()
            if self.worker.drained and not self.writing and self._closing:
                return
            self.now += 1_000
            if not self._closing and all(player.acknowledged for player in self.players):
                self._closing = True
                self._run(self.worker.close(self.now))
            else:
                for player in self.players:
                    if not player.acknowledged and not self.held:
                        self._send(player)
                self._run(self.worker.poll(self.now))
        raise AssertionError("it never came to rest")

    def _start(self) -> None:
        self.writing: deque[Append | Persist | LoadPayload | Forget] = deque()
        self.sending: list[RemoteWrite | LokiPush] = []
        self.held: dict[int, list[tuple[Player, Outcome]]] = {}
        self._closing = False
        self.worker = self.disk.restore(self.config, self.random.randrange(2**32), self.now)
        self._run(self.worker.poll(self.now))

    def _crash(self) -> None:
        """The process dies; what it had given to the disk is there up to some point."""
        self.faults["crashes"] += 1
        for _ in range(self.random.randint(0, len(self.writing))):
            self.disk.carry_out(self.writing.popleft())
        for effect in self.sending:  # on their way: they arrive, or they do not
            if self.random.random() < 0.5:
                self._receive(effect)
        self._start()

    def _send(self, player: Player) -> None:
        outcome = self.worker.handle(player.request, self.now)
        if outcome.after is not None:
            self.held.setdefault(outcome.after, []).append((player, outcome))
        else:
            player.acknowledged |= outcome.response.status == 202
        self._run(outcome.effects)

    def _write(self, most: int) -> None:
        for _ in range(min(most, len(self.writing))):
            effect = self.writing.popleft()
            if isinstance(effect, Forget):
                self.disk.carry_out(effect)
                continue
            result: StorageResult
            if not self.calm and self.random.random() < 0.08:
                self.faults["writes failed"] += 1
                result = StorageFailure("no space left", full=True)
            else:
                result = self.disk.carry_out(effect)
            self._run(self.worker.complete(effect.id, result, self.now))
            for player, outcome in self.held.pop(effect.id, ()):
                if isinstance(result, Stored):
                    player.acknowledged |= outcome.response.status == 202

    def _settle_writes(self) -> None:
        while self.writing:
            self._write(1)

    def _answer(self) -> None:
        """A receiver answers, or something on the way does."""
        if not self.sending:
            return
        effect = self.sending.pop(self.random.randrange(len(self.sending)))
        what = 1.0 if self.calm else self.random.random()
        answer: HttpResult | NetworkFailure
        if what < 0.10:
            answer = NetworkFailure("refused")
        elif what < 0.20:
            self._receive(effect)
            answer = NetworkFailure("the answer was lost")
        elif what < 0.30:
            answer = HttpResult(503)
        elif what < 0.35:
            answer = HttpResult(429, {"retry-after": "2"})
        else:
            answer = self._receive(effect)
        if what < 0.35:
            self.faults["answers gone wrong"] += 1
        self._run(self.worker.complete(effect.id, answer, self.now))

    def _receive(self, effect: RemoteWrite | LokiPush) -> HttpResult:
        if isinstance(effect, RemoteWrite):
            assert decode_write_request(effect.body) is not None
            return deliver(effect, self.receiver)
        return deliver(effect, self.loki)

    def _run(self, effects: tuple[Effect, ...]) -> None:
        self.latest = max(self.latest, self.now)
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case RemoteWrite() | LokiPush():
                    self.sending.append(effect)
                case KvUpdate():
                    replies = tuple(operation.members for operation in effect.operations)
                    waiting += self.worker.complete(effect.id, KvResult(replies), self.now)
                case Notice():
                    pass
                case _:
                    self.writing.append(effect)

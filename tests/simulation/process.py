"""A process of the simulated service: a worker on the disk of its slot, with all that it has under
way. Whatever goes wrong is drawn from the world's one source of chance.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from openqoe.core import Config, HttpResult
from openqoe.core.effects import (
    Append,
    Effect,
    Forget,
    KvFailure,
    KvResult,
    KvUpdate,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    Persist,
    RemoteWrite,
    StorageFailure,
    StorageResult,
    Stored,
)
from openqoe.core.worker import Outcome
from tests.simulation.disk import Disk
from tests.support.events import NOW, event, post
from tests.support.http_double import HttpDouble
from tests.support.loki import LokiDouble
from tests.support.memory_store import MemoryStore
from tests.support.receiver import RemoteWriteDouble
from tests.support.rig import deliver


class Player:
    """Sends one batch until it is acknowledged, and now and then once more.

    Attributes:
        slot: Where the load balancer sends it; None: anywhere, every time.
        view: Which view it is of.
        seconds: What the batch says of the time played so far.
    """

    def __init__(self, number: int, slot: int | None, view: int, seconds: int, now: int) -> None:
        self.slot = slot
        self.view = view
        self.seconds = seconds
        name = f"view-{view}"
        events = [
            event("viewstart", at=NOW, view_id=name, session_id=str(number)),
            event(
                "heartbeat",
                at=NOW + seconds,
                view_id=name,
                session_id=str(number),
                data={"playing_time": 1000 * seconds},
            ),
        ]
        self.request = post(*events, now=now)
        self.acknowledged = False


@dataclass
class Surroundings:
    """What all processes share.

    Attributes:
        calm: Whether nothing goes wrong any more.
        latest: The latest time there ever was, which is what receivers believe.
        shared: Whether the processes share a store.
        faults: What went wrong so far, by kind.
    """

    config: Config
    random: Random
    now: int = NOW
    latest: int = NOW
    calm: bool = False
    shared: bool = False
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.receivers = {
            name: RemoteWriteDouble(now_ms=lambda: self.latest)
            for name in (one.name for one in self.config.metrics_destinations)
        }
        self.lokis = {
            name: LokiDouble(now_ms=lambda: self.latest)
            for name in (one.name for one in self.config.logs_destinations)
        }
        self.store = MemoryStore(lambda: self.latest)


class Process:
    """One process, from its start to its death.

    Attributes:
        is_ending: Whether it only delivers what there is: it was told to stop, or has been
            opened by a neighbour because its slot was left behind.
    """

    def __init__(self, around: Surroundings, slot: int, disk: Disk) -> None:
        self.is_ending = False
        self._around = around
        self._disk = disk
        self._writing: deque[Append | Persist | LoadPayload | Forget] = deque()
        self._sending: list[RemoteWrite | LokiPush] = []
        self._asking: deque[KvUpdate] = deque()
        self._held: dict[int, list[tuple[Player, Outcome]]] = {}
        seed = around.random.randrange(2**32)
        self._worker = disk.restore(
            around.config,
            f"sim-{slot}",
            seed,
            around.now,
            shared=around.shared,
            pace=around.random.choice([1, 1, 1, 1000]),
        )
        self.poll()

    @property
    def is_over(self) -> bool:
        """Whether it has done all that it had to before its end."""
        waits = self._writing or self._sending or self._asking
        return self.is_ending and self._worker.drained and not waits

    def poll(self) -> None:
        """Time has passed."""
        self._run(self._worker.poll(self._around.now))

    def close(self) -> None:
        """It is told to stop."""
        if not self.is_ending:
            self.is_ending = True
            self._run(self._worker.close(self._around.now))

    def die(self) -> None:
        """What it had given to the disk is there up to some point."""
        chance = self._around.random
        for _ in range(chance.randint(0, len(self._writing))):
            self._disk.carry_out(self._writing.popleft())
        for update in self._asking:
            if chance.random() < 0.5:
                self._around.store.run(update.operations)
        for effect in self._sending:  # on their way: they arrive, or they do not
            if chance.random() < 0.5:
                self._receive(effect)

    def take(self, player: Player) -> None:
        """A player's batch comes in."""
        outcome = self._worker.handle(player.request, self._around.now)
        if outcome.after is not None:
            self._held.setdefault(outcome.after, []).append((player, outcome))
        else:
            player.acknowledged |= outcome.response.status == 202
        self._run(outcome.effects)

    def write(self, most: int) -> None:
        """The disk carries out what it was given, or fails."""
        around = self._around
        for _ in range(min(most, len(self._writing))):
            effect = self._writing.popleft()
            if isinstance(effect, Forget):
                self._disk.carry_out(effect)
                continue
            result: StorageResult
            if not around.calm and around.random.random() < 0.08:
                around.faults["writes failed"] += 1
                result = StorageFailure("no space left", full=True)
            else:
                result = self._disk.carry_out(effect)
            self._run(self._worker.complete(effect.id, result, around.now))
            for player, outcome in self._held.pop(effect.id, ()):
                if isinstance(result, Stored):
                    player.acknowledged |= outcome.response.status == 202

    def answer(self) -> None:
        """A receiver answers, or something on the way does."""
        if not self._sending:
            return
        around = self._around
        effect = self._sending.pop(around.random.randrange(len(self._sending)))
        what = 1.0 if around.calm else around.random.random()
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
            around.faults["answers gone wrong"] += 1
        self._run(self._worker.complete(effect.id, answer, around.now))

    def ask(self) -> None:
        """The shared store answers, or something on the way does."""
        if not self._asking:
            return
        around = self._around
        update = self._asking.popleft()
        what = 1.0 if around.calm else around.random.random()
        result: KvResult | KvFailure = KvFailure("it is away")
        if what >= 0.1:
            result = KvResult(around.store.run(update.operations))
        if what < 0.2:
            around.faults["store failed"] += 1
            result = KvFailure("the answer was lost")
        self._run(self._worker.complete(update.id, result, around.now))

    def settle(self) -> None:
        """All that is under way comes to its end."""
        while self._writing or self._sending or self._asking:
            self.write(len(self._writing))
            self.ask()
            self.answer()

    def _receive(self, effect: RemoteWrite | LokiPush) -> HttpResult:
        doubles: Mapping[str, HttpDouble] = (
            self._around.receivers if isinstance(effect, RemoteWrite) else self._around.lokis
        )
        return deliver(effect, doubles[effect.destination])

    def _run(self, effects: tuple[Effect, ...]) -> None:
        around = self._around
        around.latest = max(around.latest, around.now)
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case RemoteWrite() | LokiPush():
                    self._sending.append(effect)
                case KvUpdate():
                    self._asking.append(effect)
                case Notice():
                    pass
                case Append() | Persist() | LoadPayload() | Forget():
                    self._writing.append(effect)

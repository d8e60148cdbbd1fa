"""A process of the simulated service: a worker on the disk of its slot, with its pending effects.

All faults are drawn from the random generator of the environment.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from openqoe.core import Config, HttpResult
from openqoe.core.cluster.partition import Partition
from openqoe.core.effects import (
    Append,
    Delivery,
    Effect,
    Forget,
    Forward,
    KvFailure,
    KvResult,
    KvUpdate,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    Persist,
    RemoteWrite,
    Respond,
    StorageFailure,
    StorageResult,
    StoreViews,
)
from openqoe.core.http.messages import Response
from openqoe.embedded.payload_decoder import decode_views
from tests.support.disk import Disk
from tests.support.event_builders import NOW, event, post
from tests.support.http_double import HttpDouble
from tests.support.loki_double import LokiDouble
from tests.support.memory_store import MemoryStore
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import deliver


class Player:
    """Sends one batch until it is acknowledged, and sometimes once more.

    Attributes:
        slot: The slot to which the load balancer routes it; None for a random one each time.
        view: Number of its view.
        seconds: The running total of playing time in the batch.
    """

    def __init__(self, number: int, slot: int | None, view: int, seconds: int, now: int) -> None:
        self.slot = slot
        self.view = view
        self.seconds = seconds
        name = f"view-{view}"
        events = [
            event("playing", at=NOW, view_id=name, session_id=str(number)),
            event(
                "heartbeat",
                at=NOW + 1000 * seconds,
                view_id=name,
                session_id=str(number),
                data={"playing_time": 1000 * seconds},
            ),
        ]
        self.request = post(*events, now=now)
        self.acknowledged = False


@dataclass
class SimulatedEnvironment:
    """Clock, random generator, receivers and store of all processes.

    Attributes:
        calm: Whether faults have stopped.
        latest: The latest time so far, which is the receivers' clock.
        shared: Whether the processes share a store.
        slots: Number of slots that partition the views; 0 if they are not partitioned.
        processes: The running processes by slot.
        faults: Number of faults so far, by kind.
        stored_views: Views that have a row in the embedded store.
    """

    config: Config
    random: Random
    now: int = NOW
    latest: int = NOW
    calm: bool = False
    shared: bool = False
    slots: int = 0
    processes: dict[int, "SimulatedProcess"] = field(default_factory=dict)
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
        self.stored_views: set[str] = set()


class SimulatedProcess:
    """One process, from start to end.

    Attributes:
        is_ending: Whether it only delivers its data: it is stopping, or a neighbour recovers its
            orphaned slot.
    """

    def __init__(self, environment: SimulatedEnvironment, slot: int, disk: Disk) -> None:
        self.is_ending = False
        self._is_dead = False
        self._environment = environment
        self._disk = disk
        self._storage_effects: deque[Append | Persist | LoadPayload | Forget] = deque()
        self._requests: list[Delivery] = []
        self._forwarded: dict[int, Callable[[Response | None], None]] = {}  # by request id
        self._store_calls: deque[KvUpdate] = deque()
        self._players: dict[int, Player] = {}  # by the id of their open request
        self._last_request = 0
        seed = environment.random.randrange(2**32)
        self._worker = disk.restore(
            environment.config,
            f"sim-{slot}",
            seed,
            environment.now,
            shared=environment.shared,
            budget=environment.random.choice([1, 1, 1, 1000]),
            partition=Partition(environment.slots, slot) if environment.slots else None,
            relays=environment.random.random() < 0.7,
        )
        self.poll()

    @property
    def is_over(self) -> bool:
        """Whether it has finished all work before its end."""
        waits = self._storage_effects or self._requests or self._store_calls
        return self.is_ending and self._worker.drained and not waits

    @property
    def forwards(self) -> bool:
        """Whether batches wait for the process of another slot."""
        waiting = self._worker.undelivered
        return any(items for name, items in waiting.items() if name.startswith("slot-"))

    def poll(self) -> None:
        """Poll the worker at the current time."""
        self._run(self._worker.poll(self._environment.now))

    def close(self, *, is_final: bool = False) -> None:
        """Begin to stop."""
        if not self.is_ending:
            self.is_ending = True
            self._run(self._worker.close(self._environment.now, is_final=is_final))

    def die(self) -> None:
        """Crash: execute a random part of the pending effects, lose the rest."""
        chance = self._environment.random
        for _ in range(chance.randint(0, len(self._storage_effects))):
            self._disk.execute(self._storage_effects.popleft())
        for update in self._store_calls:
            if chance.random() < 0.5:
                self._environment.store.run(update.operations)
        for effect in self._requests:  # in flight: delivered or lost
            if chance.random() < 0.5:
                self._receive(effect, lambda _: None)
        self._is_dead = True
        for answer in self._forwarded.values():
            answer(None)

    def handle_batch(self, player: Player) -> None:
        """Handle a player's batch."""
        self._last_request += 1
        self._players[self._last_request] = player
        effects = self._worker.handle(self._last_request, player.request, self._environment.now)
        self._run(effects)

    def execute_writes(self, most: int) -> None:
        """Execute up to `most` storage effects; some fail."""
        environment = self._environment
        for _ in range(min(most, len(self._storage_effects))):
            effect = self._storage_effects.popleft()
            if isinstance(effect, Forget):
                self._disk.execute(effect)
                continue
            result: StorageResult
            if not environment.calm and environment.random.random() < 0.08:
                environment.faults["writes failed"] += 1
                result = StorageFailure("no space left", full=True)
            else:
                result = self._disk.execute(effect)
            self._run(self._worker.complete(effect.id, result, environment.now))

    def complete_request(self) -> None:
        """Complete one request to a receiver; some fail."""
        if not self._requests:
            return
        environment = self._environment
        effect = self._requests.pop(environment.random.randrange(len(self._requests)))
        fault = 1.0 if environment.calm else environment.random.random()
        if fault < 0.35:
            environment.faults["requests failed"] += 1

        def complete(result: HttpResult | NetworkFailure) -> None:
            if not self._is_dead:
                self._run(self._worker.complete(effect.id, result, environment.now))

        if fault < 0.10:
            complete(NetworkFailure("refused"))
        elif fault < 0.20:
            self._receive(effect, lambda _: None)
            complete(NetworkFailure("the response was lost"))
        elif fault < 0.30:
            complete(HttpResult(503))
        elif fault < 0.35:
            complete(HttpResult(429, {"retry-after": "2"}))
        else:
            self._receive(effect, complete)

    def complete_store_call(self) -> None:
        """Complete one call of the shared store; some fail."""
        if not self._store_calls:
            return
        environment = self._environment
        update = self._store_calls.popleft()
        fault = 1.0 if environment.calm else environment.random.random()
        result: KvResult | KvFailure = KvFailure("unreachable")
        if fault >= 0.1:
            result = KvResult(environment.store.run(update.operations))
        if fault < 0.2:
            environment.faults["store failed"] += 1
            result = KvFailure("the response was lost")
        self._run(self._worker.complete(update.id, result, environment.now))

    def complete_all(self) -> None:
        """Complete all pending effects."""
        while self._storage_effects or self._requests or self._store_calls:
            self.execute_writes(len(self._storage_effects))
            self.complete_store_call()
            self.complete_request()

    def handle_peer(self, body: bytes, answer: Callable[[Response | None], None]) -> None:
        """Accept batches of another process; its answer is None if this one dies before."""
        self._last_request += 1
        self._forwarded[self._last_request] = answer
        effects = self._worker.handle_peer(self._last_request, body, self._environment.now)
        self._run(effects)

    def _receive(
        self, effect: Delivery, complete: Callable[[HttpResult | NetworkFailure], None]
    ) -> None:
        """Deliver a request; its result may come later, when another process answers."""
        if isinstance(effect, Forward):
            owner = self._environment.processes.get(int(effect.destination.removeprefix("slot-")))
            if owner is None:
                complete(NetworkFailure("refused"))
                return

            def answer(response: Response | None) -> None:
                if response is None:
                    complete(NetworkFailure("reset"))
                else:
                    complete(HttpResult(response.status, body=response.body))

            owner.handle_peer(effect.body, answer)
        else:
            complete(self._deliver(effect))

    def _deliver(self, effect: RemoteWrite | LokiPush | StoreViews) -> HttpResult:
        if isinstance(effect, StoreViews):
            self._environment.stored_views |= {row.view_id for row in decode_views(effect.body)}
            return HttpResult(204)
        doubles: Mapping[str, HttpDouble] = (
            self._environment.receivers
            if isinstance(effect, RemoteWrite)
            else self._environment.lokis
        )
        return deliver(effect, doubles[effect.destination])

    def _run(self, effects: tuple[Effect, ...]) -> None:
        environment = self._environment
        environment.latest = max(environment.latest, environment.now)
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case RemoteWrite() | LokiPush() | StoreViews() | Forward():
                    self._requests.append(effect)
                case KvUpdate():
                    self._store_calls.append(effect)
                case Respond() if effect.request_id in self._forwarded:
                    self._forwarded.pop(effect.request_id)(effect.response)
                case Respond():
                    player = self._players.pop(effect.request_id)
                    player.acknowledged |= effect.response.status == 202
                case Notice():
                    pass
                case Append() | Persist() | LoadPayload() | Forget():
                    self._storage_effects.append(effect)

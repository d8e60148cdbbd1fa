"""A simulated service under one clock: players, processes on the slots of a directory, receivers.

All faults are drawn from one seed. Processes crash before or after any write, restart, stay down or
grow in number; neighbours recover orphaned slots; writes fail; responses of the receivers are late,
lost or errors; players resend acknowledged and other batches; the clock jumps. In a third of the
histories the processes share a store, which fails as well; in another third their slots partition
the views, and they forward batches to each other. In both, each batch and each copy goes to a
random process. `SimulatedService(seed).run()` is repeatable.
"""

from collections import Counter
from random import Random

from openqoe.core import Config
from tests.simulation.simulated_process import Player, SimulatedEnvironment, SimulatedProcess
from tests.support.disk import Disk
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import DESTINATIONS


class SimulatedService:
    """The history of one seed.

    Attributes:
        disks: The disk of each slot.
        processes: The running processes by slot.
    """

    def __init__(self, seed: int, steps: int = 70) -> None:
        self.random = Random(seed)
        self.steps = steps
        settings = {
            **DESTINATIONS,
            "OPENQOE_FLUSH_INTERVAL": self.random.choice(["1", "5", "15"]),
            "OPENQOE_LOKI_BATCH_BYTES": self.random.choice(["1024", "1MiB"]),
            "OPENQOE_EMBEDDED": self.random.choice(["off", "off", "off", "on"]),
            "OPENQOE_KV_PATIENCE": "1000000",  # batches counted alone could be counted twice
        }
        self.environment = SimulatedEnvironment(Config.from_environment(settings), self.random)
        self.disks = [Disk() for _ in range(self.random.choice([1, 1, 2, 3]))]
        coordination = self.random.choice(["none", "store", "partition"])
        self.environment.shared = coordination == "store"
        if coordination == "partition":
            self.environment.slots = len(self.disks)
            if self.random.random() < 0.3:  # a process more than slots that own views
                self.disks.append(Disk())
        self.processes = self.environment.processes
        self.players: list[Player] = []
        self._start()

    @property
    def faults(self) -> Counter[str]:
        """Number of faults so far, by kind."""
        return self.environment.faults

    def run(self) -> None:
        """Run the history, let everything recover, and check the result."""
        for _ in range(self.steps):
            self._step()
        self.environment.calm = True
        self._recover()
        self.check()

    def check(self) -> None:
        """Check that every acknowledged event is counted and logged exactly once everywhere."""
        assert all(player.acknowledged for player in self.players)
        for receiver in self.environment.receivers.values():
            self._check_metrics(receiver)
        for loki in self.environment.lokis.values():
            lines = Counter(entry.line for entry in loki.entries())
            assert len(lines) == 2 * len(self.players)

        if any(one.is_embedded for one in self.environment.config.metrics_destinations):
            assert self.environment.stored_views == {f"view-{one.view}" for one in self.players}

    def _check_metrics(self, receiver: RemoteWriteDouble) -> None:
        batches = len(self.players)
        assert receiver.violations == []
        played: dict[int, int] = {}
        for player in self.players:
            played[player.view] = max(player.seconds, played.get(player.view, 0))
        assert receiver.total("openqoe_events_total") == 2 * batches
        assert receiver.total("openqoe_views_loaded_total") == len(played)
        assert receiver.total("openqoe_playing_time_seconds") == sum(played.values())
        for labels, samples in receiver.samples.items():
            name = dict(labels)["__name__"]
            if name.endswith(("_total", "_count", "_bucket")):
                values = [value for _, value in samples if isinstance(value, float)]
                assert values == sorted(values), f"{name} went down"

    # Steps

    def _step(self) -> None:
        step = self.random.random()
        if step < 0.30:
            self.players.append(self._create_player())
            self._send(self.players[-1])
        elif step < 0.38 and self.players:
            self.faults["batches sent again"] += 1
            self._send(self.random.choice(self.players))
        elif step < 0.60:
            for process in self._pick_process():
                process.execute_writes(self.random.randint(1, 3))
        elif step < 0.77:
            for process in self._pick_process():
                self.random.choice([process.complete_request, process.complete_store_call])()
        elif step < 0.92:
            self._pass_time(self.random.choice([10, 300, 1_000, 5_000]))
        elif step < 0.93:
            self.faults["clock jumps"] += 1
            self.environment.now += self.random.choice([-2_000, -200, 30_000])
        elif step < 0.965:
            self._change_processes()
        else:
            self._crash()

    def _pick_process(self) -> list[SimulatedProcess]:
        """A random process, if any."""
        return [self.random.choice(list(self.processes.values()))] if self.processes else []

    def _create_player(self) -> Player:
        number, now = len(self.players), self.environment.now
        if not self.environment.shared and not self.environment.slots:
            # The player keeps its slot: slots on their own cannot detect each other's copies.
            slot = self.random.randrange(len(self.disks))
            return Player(number, slot, number, number + 1, now)
        view = self.random.choice([number, *(player.view for player in self.players[-5:])])
        return Player(number, None, view, self.random.randint(1, 100), now)

    def _send(self, player: Player) -> None:
        slots = list(self.processes) or [0]
        slot = self.random.choice(slots) if player.slot is None else player.slot
        process = self.processes.get(slot)
        if process is not None and not process.is_ending:
            process.handle_batch(player)

    def _pass_time(self, ms: int) -> None:
        self.environment.now += ms
        for slot, process in list(self.processes.items()):
            process.poll()
            if process.is_over:
                # Batches without a reply of the shared store stay in the journal, and those that
                # other processes forwarded late; those for a process that has ended stay in the
                # outbox.
                kinds = {payload.kind for payload in self.disks[slot].outbox.values()}
                late = all(record.is_forwarded for record in self.disks[slot].journal.values())
                has_only_batches = late and kinds <= {"batches"}
                assert has_only_batches or self.environment.shared
                del self.processes[slot]

    def _start(self) -> None:
        """Start a process on the lowest free slot."""
        for slot, disk in enumerate(self.disks):
            if slot not in self.processes:
                self.processes[slot] = SimulatedProcess(self.environment, slot, disk)
                return

    def _crash(self) -> None:
        if self.processes:
            slot = self.random.choice(list(self.processes))
            self.faults["crashes"] += 1
            self.processes.pop(slot).die()
            if self.random.random() < 0.7:
                self._start()

    def _change_processes(self) -> None:
        """Start a process, stop one, or recover an orphaned slot."""
        step = self.random.random()
        if step < 0.4:
            self.faults["processes started"] += 1
            self._start()
        elif step < 0.6:
            self.faults["processes stopped"] += 1
            for process in self._pick_process():
                process.close()
        else:
            self._recover_orphan()

    def _recover_orphan(self) -> None:
        awaits_owner = any(process.forwards for process in self.processes.values())
        for slot, disk in enumerate(self.disks):
            if slot not in self.processes and (awaits_owner or not disk.is_empty):
                self.faults["orphans recovered"] += 1
                self.processes[slot] = SimulatedProcess(self.environment, slot, disk)
                self.processes[slot].close()

    @property
    def _may_stop(self) -> bool:
        """Whether all batches are acknowledged, and their owners have them."""
        if not all(player.acknowledged for player in self.players):
            return False
        if not self.environment.slots:
            return True
        is_forwarding = any(process.forwards for process in self.processes.values())
        return len(self.processes) == len(self.disks) and not is_forwarding

    def _recover(self) -> None:
        """Restart processes until all batches are acknowledged; then stop all processes.

        At last, count what waits for later events, as `openqoe drain` does.
        """
        is_stopping = is_final = False
        for _ in range(3_000):
            for process in list(self.processes.values()):
                process.complete_all()
            if is_stopping or self._may_stop:
                is_stopping = True
                self._recover_orphan()
                for process in self.processes.values():
                    process.close(is_final=is_final)
                if not self.processes and all(disk.is_empty for disk in self.disks):
                    if is_final:
                        return
                    is_final = True
                    for slot, disk in enumerate(self.disks):
                        self.processes[slot] = SimulatedProcess(self.environment, slot, disk)
            else:
                for _ in self.disks:
                    self._start()
                for player in self.players:
                    if not player.acknowledged:
                        self._send(player)
            self._pass_time(1_000)
        raise AssertionError("the service never finished")

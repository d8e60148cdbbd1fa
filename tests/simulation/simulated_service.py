"""A whole service under one clock: players, processes on the slots of a directory, receivers.

Everything that can go wrong is drawn from one seed: processes die before or after any write, come
back, stay away or become more, neighbours adopt the slots of the dead, writes fail, answers of the
receivers are late, lost, refusals or storms of errors, players send again what was answered and
what was not, the clock jumps. In half of the histories the processes share a store, which fails as
well: then the batches of a view go anywhere, and so does each repetition. In some there are two
destinations of each kind, which fail each on its own. `World(seed).run()` is repeatable.
"""

from collections import Counter
from random import Random

from openqoe.core import Config
from tests.simulation.disk import Disk
from tests.simulation.simulated_process import Player, SimulatedEnvironment, SimulatedProcess
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import DESTINATIONS


class SimulatedService:
    """One seed's history.

    Attributes:
        disks: Of each slot, what survives.
        processes: By slot, who has it.
    """

    def __init__(self, seed: int, steps: int = 70) -> None:
        self.random = Random(seed)
        self.steps = steps
        settings = {
            **DESTINATIONS,
            "OPENQOE_FLUSH_INTERVAL": self.random.choice(["1", "5", "15"]),
            "OPENQOE_LOKI_BATCH_BYTES": self.random.choice(["1024", "1MiB"]),
            "OPENQOE_EMBEDDED": self.random.choice(["off", "off", "off", "on"]),
            "OPENQOE_KV_PATIENCE": "1000000",  # what is counted alone may be counted twice
        }
        self.around = SimulatedEnvironment(Config.from_environment(settings), self.random)
        self.around.shared = self.random.random() < 0.5
        self.disks = [Disk() for _ in range(self.random.choice([1, 1, 2, 3]))]
        self.processes: dict[int, SimulatedProcess] = {}
        self.players: list[Player] = []
        self._start()

    @property
    def faults(self) -> Counter[str]:
        """What went wrong so far, by kind."""
        return self.around.faults

    def run(self) -> None:
        """Live through the history, then let everything heal, and see what came of it."""
        for _ in range(self.steps):
            self._step()
        self.around.calm = True
        self._heal()
        self.check()

    def check(self) -> None:
        """What was acknowledged is counted exactly once and logged exactly once, everywhere."""
        assert all(player.acknowledged for player in self.players)
        for receiver in self.around.receivers.values():
            self._check_metrics(receiver)
        for loki in self.around.lokis.values():
            lines = Counter(entry.line for entry in loki.entries())
            assert len(lines) == 2 * len(self.players)

    def _check_metrics(self, receiver: RemoteWriteDouble) -> None:
        batches = len(self.players)
        assert receiver.violations == []
        played: dict[int, int] = {}
        for player in self.players:
            played[player.view] = max(player.seconds, played.get(player.view, 0))
        assert receiver.total("openqoe_events_total") == 2 * batches
        assert receiver.total("openqoe_views_started_total") == len(played)
        assert receiver.total("openqoe_playing_time_seconds") == sum(played.values())
        for labels, samples in receiver.samples.items():
            name = dict(labels)["__name__"]
            if name.endswith(("_total", "_count", "_bucket")):
                values = [value for _, value in samples if isinstance(value, float)]
                assert values == sorted(values), f"{name} went down"

    # What happens

    def _step(self) -> None:
        what = self.random.random()
        if what < 0.30:
            self.players.append(self._player())
            self._send(self.players[-1])
        elif what < 0.38 and self.players:
            self.faults["batches sent again"] += 1
            self._send(self.random.choice(self.players))
        elif what < 0.60:
            for process in self._some():
                process.write(self.random.randint(1, 3))
        elif what < 0.77:
            for process in self._some():
                self.random.choice([process.answer, process.ask])()
        elif what < 0.92:
            self._pass_time(self.random.choice([10, 300, 1_000, 5_000]))
        elif what < 0.93:
            self.faults["clock jumps"] += 1
            self.around.now += self.random.choice([-2_000, -200, 30_000])
        elif what < 0.965:
            self._change_their_number()
        else:
            self._crash()

    def _some(self) -> list[SimulatedProcess]:
        """One of the processes, if there is one."""
        return [self.random.choice(list(self.processes.values()))] if self.processes else []

    def _player(self) -> Player:
        number, now = len(self.players), self.around.now
        if not self.around.shared:
            # It keeps to its slot: two slots do not know of each other's batches.
            slot = self.random.randrange(len(self.disks))
            return Player(number, slot, number, number + 1, now)
        view = self.random.choice([number, *(player.view for player in self.players[-5:])])
        return Player(number, None, view, self.random.randint(1, 100), now)

    def _send(self, player: Player) -> None:
        slots = list(self.processes) or [0]
        slot = self.random.choice(slots) if player.slot is None else player.slot
        process = self.processes.get(slot)
        if process is not None and not process.is_ending:
            process.take(player)

    def _pass_time(self, ms: int) -> None:
        self.around.now += ms
        for slot, process in list(self.processes.items()):
            process.poll()
            if process.is_over:
                # What the shared store did not answer in time stays in the journal.
                assert self.disks[slot].is_empty or self.around.shared
                del self.processes[slot]

    def _start(self) -> None:
        """A process starts on the lowest free slot."""
        for slot, disk in enumerate(self.disks):
            if slot not in self.processes:
                self.processes[slot] = SimulatedProcess(self.around, slot, disk)
                return

    def _crash(self) -> None:
        if self.processes:
            slot = self.random.choice(list(self.processes))
            self.faults["crashes"] += 1
            self.processes.pop(slot).die()
            if self.random.random() < 0.7:
                self._start()

    def _change_their_number(self) -> None:
        """One more, one less, or a slot that was left behind is adopted."""
        what = self.random.random()
        if what < 0.4:
            self.faults["one more"] += 1
            self._start()
        elif what < 0.6:
            self.faults["one less"] += 1
            for process in self._some():
                process.close()
        else:
            self._adopt()

    def _adopt(self) -> None:
        for slot, disk in enumerate(self.disks):
            if slot not in self.processes and not disk.is_empty:
                self.faults["adopted"] += 1
                self.processes[slot] = SimulatedProcess(self.around, slot, disk)
                self.processes[slot].close()

    def _heal(self) -> None:
        """Every process is brought back until all is acknowledged; then all of them stop."""
        for _ in range(3_000):
            for process in list(self.processes.values()):
                process.settle()
            if all(player.acknowledged for player in self.players):
                self._adopt()
                for process in self.processes.values():
                    process.close()
                if not self.processes and all(disk.is_empty for disk in self.disks):
                    return
            else:
                for _ in self.disks:
                    self._start()
                for player in self.players:
                    if not player.acknowledged:
                        self._send(player)
            self._pass_time(1_000)
        raise AssertionError("it never came to rest")

"""The link between the workers of a host, over real sockets, on both runtimes."""

import errno
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from openqoe.core.effects import Forward, HttpResult, NetworkFailure
from openqoe.core.http.messages import Response
from openqoe.shells.net import peer_link, peer_socket, sockets
from openqoe.shells.net.peer_link import Answer, PeerLink
from openqoe.shells.storage import Slot, Slots
from tests.support.event_loops import AsyncioLoop, EventLoop, TrioLoop
from tests.support.services import PATIENCE, wait_until

Result = HttpResult | NetworkFailure

OK = HttpResult(204, body=b"x")


class Linked:
    """A process that owns a slot and is linked to the others.

    Attributes:
        slot: Its slot.
        received: Requests of others.
        results: The results of what it forwarded.
    """

    def __init__(
        self,
        loop: EventLoop,
        directory: Path,
        *,
        status: int | None = 204,
        timeout: float = PATIENCE,
    ) -> None:
        self.slot: Slot = Slots(directory).claim()
        self.received: SimpleQueue[bytes] = SimpleQueue()
        self.results: SimpleQueue[tuple[int, Result]] = SimpleQueue()
        self._loop = loop
        self._status = status
        self._link = PeerLink(self.slot, timeout)
        loop.call(lambda: self._link.start(loop.events, self._report, self._accept))

    def _report(self, effect: Forward, result: Result) -> None:
        self.results.put((effect.id, result))

    def _accept(self, body: bytes, answer: Answer) -> None:
        self.received.put(body)
        if self._status is not None:
            answer(Response(self._status, body=body[:9]))

    def submit(self, *bodies: bytes) -> None:
        """Forward bodies to slot 1, numbered from 1, in one turn of the loop."""

        def submit() -> None:
            for number, body in enumerate(bodies, 1):
                self._link.submit(Forward(number, "slot-1", "", (), body))

        self._loop.call(submit)

    def send(self, body: bytes) -> Result:
        """Forward a body to slot 1 and wait for the result."""
        self.submit(body)
        return self.results.get(timeout=PATIENCE)[1]

    def close(self) -> None:
        self._loop.call(self._link.close)
        self.slot.release()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_link, "CHECK_INTERVAL", 0.02)


@pytest.fixture(params=[AsyncioLoop, TrioLoop])
def loop(request: pytest.FixtureRequest) -> Iterator[EventLoop]:
    loop: EventLoop = request.param()
    yield loop
    loop.close()


@pytest.fixture
def sender(tmp_path: Path, loop: EventLoop) -> Iterator[Linked]:
    """The owner of slot 0."""
    linked = Linked(loop, tmp_path)
    yield linked
    linked.close()


StartOwner = Callable[..., Linked]


@pytest.fixture
def start_owner(tmp_path: Path, loop: EventLoop, sender: Linked) -> Iterator[StartOwner]:
    """Starts an owner of slot 1."""
    started: list[Linked] = []

    def start(status: int | None = 204) -> Linked:
        started.append(Linked(loop, tmp_path, status=status))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_owner_gets_the_body_and_sender_its_answer(
    sender: Linked, start_owner: StartOwner, size: int
) -> None:
    owner = start_owner()
    assert sender.send(b"x" * size) == HttpResult(204, body=b"x" * min(size, 9))
    assert owner.received.get(timeout=PATIENCE) == b"x" * size


def test_many_bodies_at_a_time_get_their_own_answers(
    sender: Linked, start_owner: StartOwner
) -> None:
    start_owner()
    bodies = [b"%9d" % number + b"x" * 50_000 for number in range(1, 101)]
    sender.submit(*bodies)
    results = dict(sender.results.get(timeout=PATIENCE) for _ in bodies)
    assert results == {number: HttpResult(204, body=b"%9d" % number) for number in range(1, 101)}


def test_refusal_of_the_owner_is_the_result(sender: Linked, start_owner: StartOwner) -> None:
    start_owner(status=503)
    assert sender.send(b"x") == HttpResult(503, body=b"x")


def test_missing_owner_is_a_failure(tmp_path: Path, sender: Linked) -> None:
    assert isinstance(sender.send(b"x"), NetworkFailure)
    (tmp_path / "slot-1").mkdir()
    assert isinstance(sender.send(b"x"), NetworkFailure)


@pytest.mark.usefixtures("_impatient")
def test_owner_that_does_not_answer_is_a_failure(
    tmp_path: Path, loop: EventLoop, sender: Linked, start_owner: StartOwner
) -> None:
    start_owner(status=None)
    impatient = Linked(loop, tmp_path, timeout=0.1)
    assert impatient.send(b"x") == NetworkFailure("timed out")
    impatient.close()


def test_owner_that_was_replaced_is_reached_at_once(
    sender: Linked, start_owner: StartOwner
) -> None:
    owner = start_owner()
    assert sender.send(b"1") == HttpResult(204, body=b"1")
    owner.close()
    successor = start_owner()
    assert sender.send(b"2") == HttpResult(204, body=b"2")
    assert successor.received.get(timeout=PATIENCE) == b"2"


def test_owner_that_ends_before_its_first_answer_is_a_failure(
    sender: Linked, start_owner: StartOwner
) -> None:
    owner = start_owner(status=None)
    sender.submit(b"x", b"y")
    assert owner.received.get(timeout=PATIENCE) == b"x"
    owner.close()
    failures = [sender.results.get(timeout=PATIENCE)[1] for _ in range(2)]
    assert {type(failure) for failure in failures} == {NetworkFailure}


def test_bytes_that_are_no_frame_end_their_connection_only(
    tmp_path: Path, sender: Linked, start_owner: StartOwner
) -> None:
    start_owner()
    with peer_socket.connect(tmp_path / "slot-1", 5) as connection:
        connection.sendall(b"\xff" * 100)
        assert connection.recv(1) == b""
    assert sender.send(b"x") == OK


class Exhausted(socket.socket):
    """A listener for which no descriptor is free at first."""

    failed_at: list[float]

    def accept(self) -> tuple[socket.socket, Any]:
        if len(self.failed_at) < 3:
            self.failed_at.append(time.monotonic())
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def test_owner_accepts_again_after_descriptors_were_exhausted(
    sender: Linked, start_owner: StartOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "RETRY_DELAY", 0.02)
    monkeypatch.setattr(socket, "socket", Exhausted)
    failed_at = Exhausted.failed_at = []
    start_owner()
    monkeypatch.undo()
    assert sender.send(b"x") == OK
    pauses = [later - earlier for earlier, later in pairwise(failed_at)]
    assert min(pauses) >= 0.01, "it has not waited between attempts"


def test_socket_is_for_its_user_only(tmp_path: Path, sender: Linked) -> None:
    assert stat.S_IMODE((tmp_path / "slot-0" / peer_socket.FILE).stat().st_mode) == 0o600


def test_path_may_be_longer_than_the_address_of_a_socket(tmp_path: Path, loop: EventLoop) -> None:
    owner = Linked(loop, tmp_path / ("d" * 120))
    with peer_socket.connect(owner.slot.path.parent, 1) as connection:
        assert peer_socket.exchange(connection, b"x") == (204, b"x")
    owner.close()


@pytest.mark.usefixtures("_impatient")
def test_owner_listens_again_after_its_socket_was_deleted(
    tmp_path: Path, sender: Linked, start_owner: StartOwner
) -> None:
    start_owner()
    (tmp_path / "slot-1" / peer_socket.FILE).unlink()
    wait_until(lambda: sender.send(b"x") == OK)


@pytest.mark.usefixtures("_impatient")
def test_owner_listens_again_after_its_socket_was_replaced_by_a_dead_one(
    tmp_path: Path, sender: Linked, start_owner: StartOwner
) -> None:
    start_owner()
    peer_socket.listen(tmp_path / "slot-1").close()
    wait_until(lambda: sender.send(b"x") == OK)


@pytest.mark.usefixtures("_impatient")
def test_process_whose_folder_was_replaced_leaves_the_socket_of_its_successor(
    tmp_path: Path, sender: Linked, start_owner: StartOwner
) -> None:
    start_owner()
    shutil.rmtree(tmp_path / "slot-1")
    successor = start_owner()
    time.sleep(0.1)
    assert sender.send(b"x") == OK
    assert successor.received.get(timeout=PATIENCE) == b"x"

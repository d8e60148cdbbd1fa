"""The link between the workers of a host, over real sockets."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from openqoe.core.effects import Forward, HttpResult, NetworkFailure
from openqoe.shells.net import peer_socket
from openqoe.shells.net.peer_link import AnswerStatus, PeerLink

Result = HttpResult | NetworkFailure


class Owner:
    """A worker that accepts what is forwarded to it, and keeps it."""

    def __init__(self, folder: Path, *, status: int | None = 204) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.received: SimpleQueue[bytes] = SimpleQueue()
        self._status = status
        self.link = PeerLink(folder)
        self.link.start(lambda *_: None, self._accept)

    def _accept(self, body: bytes, answer: AnswerStatus) -> None:
        self.received.put(body)
        if self._status is not None:
            answer(self._status)


Send = Callable[[bytes], Result]


@pytest.fixture
def send(tmp_path: Path) -> Iterator[Send]:
    """Forwards a body to the owner of slot 1 and waits for the result."""
    folder = tmp_path / "slot-0"
    folder.mkdir()
    results: SimpleQueue[Result] = SimpleQueue()
    link = PeerLink(folder, timeout=0.5)
    link.start(lambda _, result: results.put(result), lambda *_: None)

    def forward(body: bytes) -> Result:
        link.submit(Forward(1, "slot-1", "", (), body))
        return results.get(timeout=5)

    yield forward
    link.close()


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_owner_gets_the_body_and_sender_its_status(tmp_path: Path, send: Send, size: int) -> None:
    owner = Owner(tmp_path / "slot-1")
    assert send(b"x" * size) == HttpResult(204)
    assert owner.received.get(timeout=5) == b"x" * size
    owner.link.close()


def test_refusal_of_the_owner_is_the_result(tmp_path: Path, send: Send) -> None:
    owner = Owner(tmp_path / "slot-1", status=503)
    assert send(b"x") == HttpResult(503)
    owner.link.close()


def test_missing_owner_is_a_failure(tmp_path: Path, send: Send) -> None:
    assert isinstance(send(b"x"), NetworkFailure)
    (tmp_path / "slot-1").mkdir()
    assert isinstance(send(b"x"), NetworkFailure)


def test_owner_that_does_not_answer_is_a_failure(tmp_path: Path, send: Send) -> None:
    owner = Owner(tmp_path / "slot-1", status=None)
    assert send(b"x") == NetworkFailure("timed out")
    owner.link.close()


def test_owner_that_was_replaced_is_reached_at_once(tmp_path: Path, send: Send) -> None:
    owner = Owner(tmp_path / "slot-1")
    assert send(b"1") == HttpResult(204)
    owner.link.close()
    successor = Owner(tmp_path / "slot-1")
    assert send(b"2") == HttpResult(204)
    assert successor.received.get(timeout=5) == b"2"
    successor.link.close()


def test_socket_is_for_its_user_only(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "slot-1")
    assert stat.S_IMODE((tmp_path / "slot-1" / peer_socket.FILE).stat().st_mode) == 0o600
    owner.link.close()


def test_path_may_be_longer_than_the_address_of_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120) / "slot-1"
    owner = Owner(folder)
    with peer_socket.connect(folder, 1) as connection:
        assert peer_socket.exchange(connection, b"x") == 204
    owner.link.close()

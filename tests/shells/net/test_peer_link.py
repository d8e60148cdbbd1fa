"""The link between the workers of a host, over real sockets."""

import errno
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from openqoe.core.effects import Forward, HttpResult, NetworkFailure
from openqoe.core.http.messages import Response
from openqoe.shells.net import peer_link, peer_socket
from openqoe.shells.net.peer_link import Answer, PeerLink
from tests.support.services import wait_until

Result = HttpResult | NetworkFailure

OK = HttpResult(204, body=b"x")


class Owner:
    """A worker that accepts what is forwarded to it, and keeps it."""

    def __init__(self, folder: Path, *, status: int | None = 204) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.received: SimpleQueue[bytes] = SimpleQueue()
        self._status = status
        self.is_ours = True
        self.link = PeerLink(folder, lambda: self.is_ours)
        self.link.start(lambda *_: None, self._accept)

    def _accept(self, body: bytes, answer: Answer) -> None:
        self.received.put(body)
        if self._status is not None:
            answer(Response(self._status, body=body[:9]))


Send = Callable[[bytes], Result]


@pytest.fixture
def send(tmp_path: Path) -> Iterator[Send]:
    """Forwards a body to the owner of slot 1 and waits for the result."""
    folder = tmp_path / "slot-0"
    folder.mkdir()
    results: SimpleQueue[Result] = SimpleQueue()
    link = PeerLink(folder, lambda: True, timeout=0.5)
    link.start(lambda _, result: results.put(result), lambda *_: None)

    def forward(body: bytes) -> Result:
        link.submit(Forward(1, "slot-1", "", (), body))
        return results.get(timeout=5)

    yield forward
    link.close()


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_owner_gets_the_body_and_sender_its_answer(tmp_path: Path, send: Send, size: int) -> None:
    owner = Owner(tmp_path / "slot-1")
    assert send(b"x" * size) == HttpResult(204, body=b"x" * min(size, 9))
    assert owner.received.get(timeout=5) == b"x" * size
    owner.link.close()


def test_refusal_of_the_owner_is_the_result(tmp_path: Path, send: Send) -> None:
    owner = Owner(tmp_path / "slot-1", status=503)
    assert send(b"x") == HttpResult(503, body=b"x")
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
    assert send(b"1") == HttpResult(204, body=b"1")
    owner.link.close()
    successor = Owner(tmp_path / "slot-1")
    assert send(b"2") == HttpResult(204, body=b"2")
    assert successor.received.get(timeout=5) == b"2"
    successor.link.close()


class Exhausted(socket.socket):
    """A listener for which no descriptor is free at first."""

    failures = 2

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def test_owner_accepts_again_after_descriptors_were_exhausted(
    tmp_path: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_link, "ACCEPT_PAUSE", 0.01)
    monkeypatch.setattr(socket, "socket", Exhausted)
    owner = Owner(tmp_path / "slot-1")
    assert send(b"x") == OK
    owner.link.close()


def test_owner_accepts_again_after_threads_were_exhausted(
    tmp_path: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_link, "ACCEPT_PAUSE", 0.01)
    owner = Owner(tmp_path / "slot-1")
    start = peer_link._start
    serve = owner.link._serve
    failures = [RuntimeError("can't start new thread")] * 2

    def fail_at_first(run: Callable[..., None], *arguments: object) -> None:
        if run == serve and failures:
            raise failures.pop()
        start(run, *arguments)

    monkeypatch.setattr(peer_link, "_start", fail_at_first)
    for _ in range(2):
        assert isinstance(send(b"x"), NetworkFailure)
    assert send(b"x") == OK
    owner.link.close()


def test_socket_is_for_its_user_only(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "slot-1")
    assert stat.S_IMODE((tmp_path / "slot-1" / peer_socket.FILE).stat().st_mode) == 0o600
    owner.link.close()


def test_path_may_be_longer_than_the_address_of_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120) / "slot-1"
    owner = Owner(folder)
    with peer_socket.connect(folder, 1) as connection:
        assert peer_socket.exchange(connection, b"x") == (204, b"x")
    owner.link.close()


def wait_for_owner(send: Send) -> None:
    wait_until(lambda: send(b"x") == OK)


def test_owner_listens_again_after_its_socket_was_deleted(
    tmp_path: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_link, "CHECK_INTERVAL", 0.02)
    owner = Owner(tmp_path / "slot-1")
    (tmp_path / "slot-1" / peer_socket.FILE).unlink()
    wait_for_owner(send)
    owner.link.close()


def test_owner_listens_again_after_its_socket_was_replaced_by_a_dead_one(
    tmp_path: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_link, "CHECK_INTERVAL", 0.02)
    owner = Owner(tmp_path / "slot-1")
    peer_socket.listen(tmp_path / "slot-1").close()
    wait_for_owner(send)
    owner.link.close()


def test_process_whose_folder_was_replaced_leaves_the_socket_of_its_successor(
    tmp_path: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_link, "CHECK_INTERVAL", 0.02)
    owner = Owner(tmp_path / "slot-1")
    owner.is_ours = False
    successor = Owner(tmp_path / "slot-1")
    time.sleep(0.1)
    assert send(b"x") == OK
    assert successor.received.get(timeout=5) == b"x"
    for one in (owner, successor):
        one.link.close()

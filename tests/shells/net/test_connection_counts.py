"""The numbers of connections that workers of one supervisor share."""

import os
import socket
from collections.abc import Iterator

import pytest

from openqoe.shells.net.connection_counts import ABSENT, LATE_TURNS, ConnectionCounts
from openqoe.shells.net.listeners import Listeners, ListenOptions
from openqoe.shells.net.sockets import ACCEPT_BATCH


@pytest.fixture
def counts() -> Iterator[ConnectionCounts]:
    """The numbers of three workers."""
    created = ConnectionCounts.create(3)
    yield created
    created.close()


def test_worker_with_more_connections_than_another_is_ahead(counts: ConnectionCounts) -> None:
    for worker, connections in enumerate((1, 0, 1)):
        counts.set(worker, connections)
    assert [counts.is_ahead(worker) for worker in range(3)] == [True, False, True]


def test_worker_with_an_eighth_more_than_another_is_not_ahead(counts: ConnectionCounts) -> None:
    for worker, connections in enumerate((800, 900, 901)):
        counts.set(worker, connections)
    assert [counts.is_ahead(worker) for worker in range(3)] == [False, False, True]


def test_worker_is_not_ahead_of_those_that_do_not_accept(counts: ConnectionCounts) -> None:
    counts.set(0, 1_000)
    assert not counts.is_ahead(0)
    counts.set(1, 0)
    assert counts.is_ahead(0)
    counts.set(1, ABSENT)
    assert not counts.is_ahead(0)


def test_process_that_inherits_the_descriptor_sees_the_same_numbers(
    counts: ConnectionCounts,
) -> None:
    theirs = ConnectionCounts(os.dup(counts.fileno()))
    counts.set(0, 1)
    theirs.set(1, 0)
    assert theirs.is_ahead(0)
    assert counts.is_ahead(0)
    theirs.close()
    assert counts.is_ahead(0), "the memory stays for the others"


@pytest.fixture
def listeners(counts: ConnectionCounts) -> Iterator[Listeners]:
    """Inherited by worker 0."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        inherited = (os.dup(opened.fileno()),)
        opened_again = ListenOptions(fds=inherited, counts=(os.dup(counts.fileno()), 0)).open()
        opened_again.note_connections(0)
        yield opened_again
        opened_again.close()


def test_worker_that_hangs_holds_up_the_others_for_a_moment_only(
    counts: ConnectionCounts, listeners: Listeners
) -> None:
    counts.set(1, 0)
    assert listeners.begin_turn() == 1
    listeners.note_connections(1)
    for _ in range(LATE_TURNS):
        assert listeners.begin_turn() == 0
        assert listeners.begin_late_turn() == 1
    assert listeners.begin_turn() == 0
    assert listeners.begin_late_turn() == ACCEPT_BATCH
    counts.set(1, 1)  # it goes on
    assert listeners.begin_turn() == 1
    listeners.note_connections(2)
    assert listeners.begin_turn() == 0
    assert listeners.begin_late_turn() == 1


def test_nobody_waits_for_a_worker_that_accepts_no_more(
    counts: ConnectionCounts, listeners: Listeners
) -> None:
    counts.set(1, 1)
    assert counts.is_ahead(1)
    listeners.close()
    assert not counts.is_ahead(1)

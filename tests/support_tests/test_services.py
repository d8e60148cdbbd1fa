"""When a test is skipped, and when it fails, for want of a program."""

from __future__ import annotations

import socket

import pytest

from tests.support.services import free_port, require, wait_until


def test_a_program_that_is_there_is_found() -> None:
    assert require("sh").endswith("/sh")


def test_a_missing_program_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require("no-such-program")


def test_a_missing_program_fails_the_test_where_services_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require("no-such-program")


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_the_kernel_gives_a_free_port_to_nobody_else() -> None:
    ours = {free_port() for _ in range(50)}
    for _ in range(5_000):  # of some 14,000 ports: eighteen of ours, if they were not held
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            assert other.getsockname()[1] not in ours


def test_waiting_in_vain_names_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="for the moon"):
        wait_until(lambda: False, 0.01, "the moon")

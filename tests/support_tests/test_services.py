"""Tests of `services`: missing programs, free ports, waiting."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.services import free_port, require, require_folder, wait_until


def test_require_returns_path_of_installed_program() -> None:
    assert require("sh").endswith("/sh")


def test_missing_program_skips_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require("no-such-program")


def test_missing_program_fails_test_where_services_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require("no-such-program")


def test_missing_folder_skips_test_and_names_installer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("REQUIRE_SERVICES", raising=False)
    assert require_folder(tmp_path) == tmp_path
    with pytest.raises(pytest.skip.Exception, match="install-services"):
        require_folder(tmp_path / "grammar")


def test_free_port_accepts_listener() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_free_port_is_not_assigned_by_kernel() -> None:
    ours = {free_port() for _ in range(50)}
    for _ in range(5_000):  # of some 14,000 ports: eighteen of ours, if they were not held
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            assert other.getsockname()[1] not in ours


def test_wait_timeout_names_condition() -> None:
    with pytest.raises(AssertionError, match=r"timeout after 0\.01 s: the moon"):
        wait_until(lambda: False, 0.01, "the moon")

"""File limits and signals of a process."""

import io
import resource
import signal
import sys
from collections.abc import Iterator

import pytest

from openqoe.core import Config
from openqoe.shells.service import logs, os_process


@pytest.fixture
def few_files() -> Iterator[None]:
    """A soft limit that is lower than the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def capped(connections: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    config = Config(max_connections=connections, log_format="json")
    return os_process.raise_limits(
        config, logs.configure(config)
    ).max_connections, stream.getvalue()


def test_file_limit_is_raised_to_hard_limit(
    few_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capped(100, monkeypatch) == (100, "")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


def test_connections_are_capped_at_fixed_file_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert capped(936, monkeypatch) == (936, "")
    most, warning = capped(937, monkeypatch)
    assert most == 936
    assert warning.count("\n") == 1
    assert '"level": "warning"' in warning


def test_refused_hard_limit_keeps_soft_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert capped(1000, monkeypatch)[0] == 192


def test_ignored_sighup_is_not_a_stop_signal() -> None:
    assert signal.SIGHUP in os_process.stop_signals()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert os_process.stop_signals() == (signal.SIGTERM, signal.SIGINT)
    finally:
        signal.signal(signal.SIGHUP, before)

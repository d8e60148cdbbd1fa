"""Env files and names of instances."""

import os
import socket
from pathlib import Path

import pytest

from openqoe.core import Config
from openqoe.shells.service import environment


def test_env_file_is_not_interpolated_and_yields_to_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENQOE_TEST_WORD", "other")
    file = tmp_path / "env"
    file.write_text("API_KEY=a${OPENQOE_TEST_WORD}b$c\nOPENQOE_TEST_WORD=mine\n")
    read = environment.environment(file)
    assert read["API_KEY"] == "a${OPENQOE_TEST_WORD}b$c"
    assert read["OPENQOE_TEST_WORD"] == "other"  # the environment takes precedence


def test_env_file_that_is_not_utf8_raises_os_error(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"API_KEY=\xff\n")
    with pytest.raises(OSError, match="not UTF-8"):
        environment.environment(file)


def test_servers_of_one_host_have_different_instances() -> None:
    host, pid = socket.gethostname(), os.getpid()
    assert environment.server_instance(Config(), 8787) == f"{host}-8787"
    assert environment.server_instance(Config(), None) == f"{host}-{pid}"  # a Unix socket
    assert environment.server_instance(Config(instance="a"), 8787) == "a"
    assert environment.process_instance(Config()) == f"{host}-{pid}"
    assert environment.process_instance(Config(instance="a")) == f"a-{pid}"


def test_slots_of_one_host_have_different_instances() -> None:
    assert environment.slot_instance(Config(), 1) == f"{socket.gethostname()}-1"
    assert environment.slot_instance(Config(instance="a"), 0) == "a-0"

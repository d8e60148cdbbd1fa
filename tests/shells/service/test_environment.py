"""Env files and names of instances."""

import os
import socket
from pathlib import Path

import pytest

from openqoe.core import Config
from openqoe.core.config.declaration import SettingsError
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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("API_KEY: hush\n", 1),
        ("A=1\n\nAPI_KEY:hush\n", 3),
        ('# keys\nAPI_KEY="hush\nA=1\n', 2),
        ("API_KEY='hush\n", 1),
        ('API_KEY="hush" more\n', 1),
        ("API_KEY\n", 1),
        ("API-KEY=hush\n", 1),
        ("; API_KEY=hush\n", 1),
        ('OTHER="hush\nAPI_KEY=hush\nB=3"\n', 1),  # the quote closes two settings later
    ],
)
def test_unreadable_line_of_env_file_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    file = tmp_path / "env"
    file.write_text(text)
    with pytest.raises(SettingsError, match=f"line {line} of ") as caught:
        environment.environment(file)
    assert "hush" not in str(caught.value)


def test_readable_lines_of_env_file_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.setenv("LOKI_URL", "http://l")
    file = tmp_path / "env"
    file.write_bytes(
        b"\xef\xbb\xbfAPI_KEY=a#b # rotated\r\n\r\nexport B='c d'\r\n#E=1\r\nF=\r\nLOKI_URL\r\n"
        b'LIMITS={"limits":{"env":{"max_cardinality":3}}}\r\n'
    )
    read = environment.environment(file)
    assert (read["API_KEY"], read["B"], read["F"]) == (
        "a#b",
        "c d",
        "",
    )  # without a byte order mark
    assert read["LOKI_URL"] == "http://l"
    assert read["LIMITS"] == '{"limits":{"env":{"max_cardinality":3}}}'


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

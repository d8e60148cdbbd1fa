"""The log: its faults are ignored, and control characters are escaped."""

import errno
import io
import sys
from typing import Any

import pytest

from openqoe.core import Config
from openqoe.shells.service import logs


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Full(), closed(), None])
@pytest.mark.parametrize("log_format", ["auto", "json", "human"])
def test_unwritable_log_raises_nothing(
    stream: Any, log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    log = logs.configure(Config(log_format=log_format))
    log.info("serving", port=1)
    log.error("failed", exc_info=ValueError("x"))


HOSTILE = "\x1b[2J\x07\x9b31m\r\nserving \u202e"


def test_control_characters_are_escaped_in_readable_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log = logs.configure(Config(log_format="human"))
    log.info("request failed", path=HOSTILE, words=[HOSTILE])
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("connection failed")
    text = stream.getvalue()
    assert not set("\x1b\x07\x9b\r\u202e") & set(text)
    assert "\\x1b[2J" in text
    assert "Traceback (most recent call last):\n" in text
    assert len(text.split("\n\n")[0].splitlines()[0].split("serving")) >= 2  # still one line


def test_control_characters_are_escaped_in_json_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(Config(log_format="json")).info("failed", path=HOSTILE, words=[HOSTILE])
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "is_plain"), [("", False), ("1", True)])
def test_no_color_disables_colours(
    no_color: str, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("NO_COLOR", no_color)
    logs.configure(Config(log_format="human")).info("serving")
    assert ("\x1b" not in stream.getvalue()) is is_plain

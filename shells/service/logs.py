"""The operator's log: structured lines on standard error, as JSON or for people."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

import structlog

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Notice

Log = structlog.typing.FilteringBoundLogger


def configure(config: Config) -> Log:
    """Set the log up once for the process, and return it."""
    stream = _LenientStream(sys.stderr)
    as_json = config.log_format == "json" or (config.log_format == "auto" and not stream.isatty())
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        else [
            _escape_controls,
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty() and not os.environ.get("NO_COLOR"),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.log_level.upper()]
        ),
        logger_factory=lambda *_: structlog.WriteLogger(stream),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    log: Log = structlog.get_logger()
    return log


def write_notice(log: Log, notice: Notice) -> None:
    """Write a notice of the core."""
    log.log(
        logging.getLevelNamesMapping()[notice.level.upper()], notice.event, **dict(notice.fields)
    )


class _LenientStream:
    """A stream whose faults concern nobody: a full disk or a pipe that nobody reads must not
    keep the service from its work."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None: the process was started without one

    def write(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                return self._stream.isatty()
        return False


def _escape_controls(
    logger: object, method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Paths and the words of receivers are somebody else's: they must not steer a terminal,
    nor look like lines of ours."""
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = printable(value, keep="\n" if name == "exception" else "")
    return fields


def printable(text: str, keep: str = "") -> str:
    """A text in which nothing can steer a terminal."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )

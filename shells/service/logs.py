"""The operator's log: structured lines on standard error, as JSON or in a readable form."""

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
    """Configure the log of the process and return it."""
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
    """Log a notice of the core."""
    log.log(
        logging.getLevelNamesMapping()[notice.level.upper()], notice.event, **dict(notice.fields)
    )


class _LenientStream:
    """A stream that ignores its faults: a full disk or a closed pipe must not stop the service."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None: the process has no standard error

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
    """Escape control characters of clients and receivers, which could drive a terminal or forge
    log lines."""
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = printable(value, keep="\n" if name == "exception" else "")
    return fields


def printable(text: str, keep: str = "") -> str:
    """Return a text with its control characters escaped."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )

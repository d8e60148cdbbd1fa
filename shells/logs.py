"""The operator's log: structured lines on standard error, as JSON or for people."""

import logging
import sys

import structlog

from openqoe.core.config import Config
from openqoe.core.effects import Notice

Log = structlog.typing.FilteringBoundLogger


def configure(config: Config) -> Log:
    """Set the log up once for the process, and return it."""
    as_json = config.log_format == "json" or (
        config.log_format == "auto" and not sys.stderr.isatty()
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.log_level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    log: Log = structlog.get_logger()
    return log


def write(log: Log, notice: Notice) -> None:
    """Write a notice of the core."""
    log.log(
        logging.getLevelNamesMapping()[notice.level.upper()], notice.event, **dict(notice.fields)
    )

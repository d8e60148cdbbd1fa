"""API keys are kept out of the access logs of other servers.

Beacons carry the API key in the query (``?api_key=``), and uvicorn, hypercorn, granian and gunicorn
log the query. A filter on their loggers replaces the key.
"""

import logging
import re
from typing import Any

LOGGERS = ("uvicorn.access", "hypercorn.access", "granian.access", "gunicorn.access")

_KEY = re.compile(r"(?i)\b(api_key|api-key)(=|%3[dD])[^&\s\"'#;]+")


def redact_keys() -> None:
    """Replace API keys in all records that the access loggers write from now on."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)


class _KeyFilter(logging.Filter):
    """Replaces API keys in the arguments and the message of records."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args
        if isinstance(arguments, tuple):
            record.args = tuple(_redact(value) for value in arguments)
        elif isinstance(arguments, dict):  # of a kind that supplies defaults: change it in place
            for name, value in arguments.items():
                arguments[name] = _redact(value)
        record.msg = _redact(record.msg)
        return True


def _redact(value: Any) -> Any:
    return _KEY.sub(r"\1\2REDACTED", value) if isinstance(value, str) else value


_FILTER = _KeyFilter()

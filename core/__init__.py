"""The core of the OpenQoE worker: pure, without I/O.

It exports what an application needs to embed it; ``worker`` is the place to begin reading. Nothing
in this package imports from the shells, opens a socket or a file, or knows the time.
"""

from .config.declaration import SettingsError
from .config.worker_config import Config
from .effects import (
    Effect,
    HttpResult,
    KvFailure,
    KvResult,
    KvUpdate,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    Respond,
    Result,
    StoreViews,
)
from .http import Connection, HttpLimits, Request, Response
from .version import VERSION
from .worker import Worker

__all__ = [
    "VERSION",
    "Config",
    "Connection",
    "Effect",
    "HttpLimits",
    "HttpResult",
    "KvFailure",
    "KvResult",
    "KvUpdate",
    "LokiPush",
    "NetworkFailure",
    "Notice",
    "RemoteWrite",
    "Request",
    "Respond",
    "Response",
    "Result",
    "SettingsError",
    "StoreViews",
    "Worker",
]

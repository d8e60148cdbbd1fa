"""A complete shell over plain sockets and ``select``: what it takes to bring a new runtime.

All four duties of a shell are here, each in one place: bytes in and bytes out (``serve``),
effects (``run``), time (``turn``). One thread owns the worker and all connections, so there is
no lock; the standard library's HTTP client blocks, so each effect is sent in a thread of
its own, of which there are never more than one for each destination. Its result comes back
through a queue, and a byte in a socket pair rings the bell for ``select``; a signal rings it,
too. The base install is enough:

    PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write python examples/select_shell.py 8787

SIGTERM or SIGINT ends it: requests that have begun are answered, then comes the last flush.
"""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

from openqoe.core import (
    Config,
    Effect,
    HttpResult,
    KvResult,
    KvUpdate,
    LokiPush,
    NetworkFailure,
    RemoteWrite,
    Worker,
)
from openqoe.core.http import Connection, HttpLimits
from openqoe.shells.stores import MemoryStore

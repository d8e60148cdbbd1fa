"""The worker as a WSGI application: for gunicorn, waitress, mod_wsgi."""

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from threading import Lock
from typing import Any

from openqoe.core.api import answers
from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config
from openqoe.core.http import Request, Response
from openqoe.core.http.hosted import (
    BodyCollector,
    join_headers,
    parse_content_length,
    to_host_response,
)
from openqoe.core.http.refusal import RefusedError

from ..net.access_logs import redact_keys
from ..net.tcp_info import kernel_queue_ms
from ..service import logs
from ..service.bootstrap import open_runtime
from ..service.clock import now_ms
from ..service.environment import log_start, process_instance
from ..storage import StorageError
from .read_deadlines import ReadDeadlines
from .service import Service

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

CHUNK = 65536

PATCHERS = (
    ("gevent.monkey", "is_module_patched", "threading"),
    ("eventlet.patcher", "is_monkey_patched", "thread"),
)
"""Modules that replace threads by coroutines, with a function that says whether they have."""

EXIT_UNLOADABLE = 4
"""gunicorn's exit status for an application that cannot be loaded. gunicorn then ends, instead of
starting new processes forever."""


class Application:
    """A WSGI application; one per process, for any number of threads.

    The service starts with the first request, in the process that serves it: a host may
    import the application before it forks (gunicorn's ``--preload``).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._service: Service | None = None
        self._deadlines: ReadDeadlines | None = None
        self._pid = 0
        self._starting = Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        method = environ["REQUEST_METHOD"]
        try:
            service = self.start()
        except (StorageError, SettingsError) as error:
            # The next request tries again: an operator may free space or correct permissions.
            logs.configure(self.config).error("cannot start", reason=str(error))
            unavailable = answers.unavailable("The service cannot start", answers.RETRY_AFTER_S)
            return _respond(unavailable, method, start_response)
        headers = _headers(environ)
        socket = environ.get("gunicorn.socket")  # of other hosts, the wait is not known
        received = now_ms() - kernel_queue_ms(socket)
        try:
            body = self._read_body(environ)
        except RefusedError as refused:
            response = service.refuse(refused.status, refused.message, headers)
        else:
            # PATH_INFO is decoded and without the mount point (SCRIPT_NAME): WSGI does not have
            # the path as it was sent. None of our paths has a character that needs encoding.
            path = environ.get("PATH_INFO", "")
            query = environ.get("QUERY_STRING", "")
            is_secure = environ.get("wsgi.url_scheme") == "https"
            # gunicorn's thread may have served other requests since the last byte arrived.
            complete = now_ms() - kernel_queue_ms(socket)
            client = environ.get("REMOTE_ADDR") or ""
            request = Request(
                method, path, query, headers, body, received, is_secure, complete, client
            )
            response = service.answer(request)
        return _respond(response, method, start_response)

    def _read_body(self, environ: Environ) -> bytes:
        """Read the body; under gunicorn within the request time-out.

        Raises:
            RefusedError: It is too large or too slow, or its length differs from the announced one.
        """
        socket, deadlines = environ.get("gunicorn.socket"), self._deadlines
        if socket is None or deadlines is None:
            return _body(environ, self.config.max_body_bytes)
        in_time = True
        deadlines.begin(socket)
        try:
            return _body(environ, self.config.max_body_bytes)
        except (RefusedError, OSError):
            in_time = deadlines.end(socket)
            if in_time:
                raise
            raise RefusedError(408, "Request not received in time") from None
        finally:
            if in_time:
                deadlines.end(socket)

    def start(self) -> Service:
        """Start the service of this process, unless it runs.

        Raises:
            SettingsError: A proxy or a certificate for the destinations cannot be used, or the host
                replaces threads by coroutines.
            StorageError: The data directory cannot be used.
        """
        service = self._service
        if service is not None and self._pid == os.getpid():
            return service
        with self._starting:
            if self._service is None or self._pid != os.getpid():
                _require_threads()
                log = logs.configure(self.config)
                redact_keys()
                runtime = open_runtime(self.config, process_instance(self.config), log)
                try:
                    service = Service(runtime, log)
                    service.start()
                    service.watch()
                except BaseException:
                    runtime.close()
                    raise
                self._service, self._pid = service, os.getpid()
                self._deadlines = ReadDeadlines(self.config.request_timeout / 1000)
                self._deadlines.start()
                log_start(log, runtime.worker, os.environ)
                _running.append(self)
                # For hosts without hooks; those of gunicorn call ``close`` earlier.
                atexit.register(self.close)
            return self._service

    def close(self) -> None:
        """Flush for the last time and deliver, if the service runs in this process.

        Later requests are refused.
        """
        with self._starting:
            service = self._service
            if service is not None and self._pid == os.getpid() and not service.closed:
                service.close(service.drain().remaining)
                if self._deadlines is not None:
                    self._deadlines.close()


def _require_threads() -> None:
    """Check that the service gets a thread of its own: in a coroutine its event loop would block
    the whole process, and no request would ever be answered.

    Raises:
        SettingsError: The host replaces threads by coroutines.
    """
    for module, function, name in PATCHERS:
        patcher = sys.modules.get(module)
        if patcher is not None and getattr(patcher, function)(name):
            library = module.partition(".")[0]
            raise SettingsError(
                (
                    f"{library} workers are not supported, because the service needs a thread of "
                    "its own: use gunicorn's worker class gthread",
                )
            )


def create_application(config: Config | None = None) -> Application:
    """Create an application with these settings, or those of the environment.

    Call its ``close`` when the host ends (it also runs at exit).

    Raises:
        SettingsError: Settings of the environment are wrong.
    """
    return Application(Config.from_environment(os.environ) if config is None else config)


@cache
def default_application() -> Application:
    """Return the application with the settings of the environment, for a host that imports it.

    Wrong settings end the process with a message: a host would print a traceback.
    """
    try:
        return create_application()
    except SettingsError as error:
        print(f"openqoe: {error}", file=sys.stderr, flush=True)
        sys.exit(EXIT_UNLOADABLE)


_running: list[Application] = []
"""The applications whose service runs in this process."""


def start_or_exit(application: Application) -> None:
    """Start an application's service, for hosts with a start hook.

    Ends the process with a message if the data directory or a setting cannot be used.
    """
    try:
        application.start()
    except (StorageError, SettingsError) as error:
        print(f"openqoe: {error}", file=sys.stderr, flush=True)
        sys.exit(EXIT_UNLOADABLE)


def close_all() -> None:
    """Close every application of this process, for hosts with a stop hook."""
    for application in tuple(_running):
        application.close()


def _headers(environ: Environ) -> dict[str, str]:
    """Return the headers of a request. The host has joined repeated ones."""
    plain = {"CONTENT_TYPE", "CONTENT_LENGTH"}
    return join_headers(
        (name.removeprefix("HTTP_").replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in plain and value)
    )


def _body(environ: Environ, limit: int) -> bytes:
    """Read the body.

    Raises:
        RefusedError: It is too large, or its length differs from the announced one.
    """
    length = parse_content_length(environ.get("CONTENT_LENGTH") or "")
    body = BodyCollector(limit, length)
    stream = environ["wsgi.input"]
    # Without a length the body is chunked if the host marks its end; otherwise there is none.
    left = length if length is not None else -1 if environ.get("wsgi.input_terminated") else 0
    while left:
        piece = stream.read(min(CHUNK, left) if left > 0 else CHUNK)
        if not piece:
            break
        body.add(piece)
        if left > 0:
            left -= len(piece)
    return body.body()


def _respond(response: Response, method: str, start_response: StartResponse) -> Iterable[bytes]:
    headers, body = to_host_response(response, method)
    start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
    return [body]

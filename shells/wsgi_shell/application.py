"""The WSGI application: a host's requests to the core and back."""

import atexit
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from threading import Lock
from typing import Any

from openqoe.core.config import Config
from openqoe.core.http import Request, Response
from openqoe.core.http.hosted import BodyCollector, host_response, parse_length
from openqoe.core.http.refusal import RefusedError
from openqoe.shells import logs
from openqoe.shells.clock import now_ms
from openqoe.shells.settings import announce, make_worker, process_instance
from openqoe.shells.wsgi_shell.service import Service

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

CHUNK = 65536


class Server:
    """The application. One for a process, whatever number of threads call it.

    The service starts with the first request, in the process that serves it: a host may
    import the application before it forks (gunicorn's ``--preload``).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._service: Service | None = None
        self._pid = 0
        self._starting = Lock()
        self._closed = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        service = self.start()
        method = environ["REQUEST_METHOD"]
        headers = _headers(environ)
        try:
            request = Request(
                method,
                # SCRIPT_NAME is where we are mounted, and not our business.
                environ.get("PATH_INFO", ""),
                environ.get("QUERY_STRING", ""),
                headers,
                _body(environ, self.config.max_body_bytes),
                now_ms(),
            )
        except RefusedError as refused:
            response = service.refuse(refused.status, refused.message, headers)
        else:
            response = service.handle(request)
        return _respond(response, method, start_response)

    def start(self) -> Service:
        """Start the service of this process, if it does not run yet."""
        service = self._service
        if service is not None and self._pid == os.getpid():
            return service
        with self._starting:
            if self._service is None or self._pid != os.getpid():
                log = logs.configure(self.config)
                worker = make_worker(self.config, process_instance(self.config))
                self._service, self._pid = Service(worker, log), os.getpid()
                self._closed = False
                self._service.start()
                announce(log, self.config, worker.instance)
                _running.append(self)
                # For hosts without hooks; gunicorn's call close before this.
                atexit.register(self.close)
            return self._service

    def close(self) -> None:
        """Flush for the last time and deliver, if the service runs in this process."""
        with self._starting:
            service = self._service
            if service is None or self._pid != os.getpid() or self._closed:
                return
            self._closed = True
        service.worker.drain()
        service.close(self.config.shutdown_timeout / 1000)
        service.log.info("stopped")


_running: list[Server] = []
"""The applications whose service runs in this process."""


def close_all() -> None:
    """Close every application of this process: for hosts that have a hook for its end."""
    for server in tuple(_running):
        server.close()


def _headers(environ: Environ) -> dict[str, str]:
    """The request's headers by lower-case name."""
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name, header in (("CONTENT_TYPE", "content-type"), ("CONTENT_LENGTH", "content-length")):
        if environ.get(name):
            headers[header] = environ[name]
    return headers


def _body(environ: Environ, limit: int) -> bytes:
    """Read the body.

    Raises:
        RefusedError: It is too large, or its length is no number.
    """
    length = parse_length(environ.get("CONTENT_LENGTH") or "")
    body = BodyCollector(limit, length)
    stream = environ["wsgi.input"]
    # Without a length the body is chunked if the host marks its end, else there is none.
    left = length if length is not None else -1 if environ.get("wsgi.input_terminated") else 0
    while left:
        piece = stream.read(min(CHUNK, left) if left > 0 else CHUNK)
        if not piece:
            break
        body.add(piece)
        if left > 0:
            left -= len(piece)
    if left > 0:
        raise RefusedError(400, "Request incomplete")
    return body.body()


def _respond(response: Response, method: str, start_response: StartResponse) -> Iterable[bytes]:
    headers, body = host_response(response, method)
    start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
    return [body]

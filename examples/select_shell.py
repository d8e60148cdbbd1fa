"""A whole shell over plain sockets and ``select``: what it takes to bring a new runtime.

One loop does the four things a shell does: it waits and keeps time, moves bytes in, moves bytes
out, and starts effects. One thread owns the worker and all connections, so there is no lock;
only ``perform`` runs in other threads, because the standard library's HTTP client blocks. The
base install is all it needs (and a POSIX system, for the signals):

    PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write python examples/select_shell.py 8787

SIGTERM or SIGINT ends it: connections are closed, then comes the last flush. A request that
was not complete by then was not counted, and the player sends it again.

What it leaves out to stay short, and the shells of the package do: a client that is slow to
take its answer holds the others, for a second at the most; results and deadlines are looked
at every tenth of a second; connections close without ``Connection.linger``.
"""

import os
import select
import signal
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from openqoe.core import (
    Config,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    Respond,
    Result,
    Worker,
)
from openqoe.core.http import Connection, HttpLimits
from openqoe.shells.service.clock import now_ms


def serve(worker: Worker, listener: socket.socket) -> None:
    """Serve until a signal comes, then deliver what is left."""
    limits = HttpLimits.from_config(worker.config)
    clients: dict[socket.socket, Connection] = {}
    running: dict[Future[Result], int] = {}
    pool = ThreadPoolExecutor(3)  # one effect at a time for each destination, and the store
    end: int | None = None
    while end is None or (now_ms() < end and not worker.drained):
        ready = select.select([listener, *clients], [], [], 0.1)[0]
        stopping = bool(signal.sigpending())  # those blocked below

        # Time, and results, from which more effects may follow.
        effects = [*worker.poll(now_ms())]
        for future in [future for future in running if future.done()]:
            effects += worker.complete(running.pop(future), future.result(), now_ms())

        # Bytes in, bytes out.
        if listener in ready:
            client, _ = listener.accept()
            client.settimeout(1)
            clients[client] = Connection(limits, now_ms(), refuse=worker.refuse)
        for client, http in tuple(clients.items()):
            is_over = True
            with suppress(OSError):
                if client in ready:
                    http.receive_data(client.recv(65536), now_ms())
                http.handle_timeout(now_ms())
                while request := http.next_request(now_ms()):
                    answer, *others = worker.handle(0, request, now_ms())
                    assert isinstance(answer, Respond), "nothing here is worth waiting for"
                    effects += others
                    client.sendall(http.send_response(answer.response, now_ms(), close=stopping))
                client.sendall(http.data_to_send())
                # select ends at 1024 descriptors: one client too many costs the oldest its place.
                is_over = stopping or http.should_close or len(clients) > 900
            if is_over:
                del clients[client]
                client.close()
        if stopping and end is None:
            end = now_ms() + worker.config.shutdown_timeout
            effects += worker.close(now_ms())

        # Effects: each with an id gets a result, once.
        for effect in effects:
            if isinstance(effect, Notice):
                print(effect.level, effect.event, dict(effect.fields), file=sys.stderr)
            elif isinstance(effect, RemoteWrite | LokiPush):  # it has no disk and shares nothing
                running[pool.submit(perform, effect)] = effect.id


def perform(effect: RemoteWrite | LokiPush) -> Result:
    """Send a request. What goes wrong is a result, too."""
    url = urlsplit(effect.url)
    target = f"{url.path or '/'}?{url.query}".removesuffix("?")
    connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
    try:
        with closing(connect(url.netloc, timeout=5)) as connection:
            connection.request("POST", target, effect.body, dict(effect.headers))
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return HttpResult(answer.status, headers, answer.read(8192))
    except (OSError, HTTPException, ValueError) as error:
        return NetworkFailure(str(error) or type(error).__name__)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    config = Config.from_environment(os.environ)
    worker = Worker(config, instance=f"{socket.gethostname()}-{sys.argv[1]}", seed=os.getpid())
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        serve(worker, listener)

"""A load generator with low CPU cost: asyncio protocols and prepared bytes.

It has two kinds of load. ``run_closed_loop`` keeps a number of connections busy, each with one
request at a time, and measures the throughput. ``run_at_rate`` sends at a fixed rate, independent
of responses, and measures the latency for players, also under overload.
"""

import asyncio
import time
from bisect import bisect
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, count, cycle
from typing import Any, TypeVar, cast

T = TypeVar("T")

_numbers = count()

NO_RESPONSE = 0
"""Pseudo-status: the connection closed or timed out without a response."""

NOT_SENT = -1
"""Pseudo-status: all connections were busy."""

RESPONSE_TIMEOUT = 10.0
"""Seconds to wait for the last responses."""


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load.

    Attributes:
        seconds: Its duration.
        statuses: Number of requests by status, ``NO_RESPONSE`` or ``NOT_SENT``.
        times: The response times in s, ascending.
        late: The maximum delay of the generator itself, in s.
    """

    seconds: float
    statuses: Counter[int]
    times: list[float]
    late: float = 0.0

    @property
    def rate(self) -> float:
        """Accepted requests per second."""
        return self.per_second(202)

    def per_second(self, status: int) -> float:
        """Requests per second with this status."""
        return self.statuses[status] / self.seconds

    def percentile(self, fraction: float) -> float:
        """The percentile of the response times in ms; 0 without responses."""
        if not self.times:
            return 0.0
        return self.times[min(int(len(self.times) * fraction), len(self.times) - 1)] * 1000


def encode_posts(bodies: list[bytes]) -> Iterator[bytes]:
    """Endless requests with repeated bodies and unique idempotency keys."""
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        "Idempotency-Key: {}\r\nContent-Length: {}\r\n\r\n"
    )
    for body in cycle(bodies):
        yield head.format(next(_numbers), len(body)).encode() + body


def run_closed_loop(
    port: int, requests: Iterator[bytes], connections: int, seconds: float, *more_ports: int
) -> Load:
    """Keep connections busy, each with one request at a time; to several ports in turn.

    Raises:
        RuntimeError: A status was neither 202 nor 503.
    """
    load = _run(_closed((port, *more_ports), requests, connections, seconds))
    if load.statuses.keys() - {202, 503}:
        raise RuntimeError(f"unexpected statuses: {dict(load.statuses)}")
    return load


def run_at_rate(
    port: int,
    requests: Iterator[bytes],
    rate: float,
    parts: Sequence[float],
    connections: int,
) -> list[Load]:
    """Send requests at a fixed rate, each on a free connection.

    Args:
        port: Port of the worker.
        requests: The requests.
        rate: Requests per second.
        parts: Durations in s of consecutive parts of the load.
        connections: Number of connections; without a free one a request is not sent.

    Returns:
        The result of each part, by the time of sending.
    """
    return _run(_open(port, requests, rate, parts, connections))


def _run(load: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(load)
    return uvloop.run(load)


class _Client(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, done: Callable[["_Client", int, float], None]) -> None:
        self._done = done
        self._buffer = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) < end + 4 + _length(self._buffer[: end + 2]):
            return
        status, self._buffer = int(self._buffer[9:12]), b""
        self._end(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            self._end(NO_RESPONSE)

    def _end(self, status: int) -> None:
        assert self._due is not None
        due, self._due = self._due, None
        self._done(self, status, time.perf_counter() - due)


def _length(head: bytes) -> int:
    """The Content-Length of a head."""
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])


async def _closed(
    ports: Sequence[int], requests: Iterator[bytes], connections: int, seconds: float
) -> Load:
    loop = asyncio.get_running_loop()
    statuses: Counter[int] = Counter()
    times: list[float] = []
    ended = loop.create_future()
    busy = connections
    began = time.perf_counter()
    end = began + seconds

    def done(client: _Client, status: int, elapsed: float) -> None:
        nonlocal busy
        statuses[status] += 1
        times.append(elapsed)
        now = time.perf_counter()
        if now < end and status:
            client.send(next(requests), now)
            return
        busy -= 1
        if not busy and not ended.done():
            ended.set_result(None)

    clients = [await _connect(ports[n % len(ports)], done) for n in range(connections)]
    for client in clients:
        client.send(next(requests), time.perf_counter())
    await ended
    elapsed = time.perf_counter() - began
    for client in clients:
        client.transport.abort()
    return Load(elapsed, statuses, sorted(times))


async def _open(
    port: int,
    requests: Iterator[bytes],
    rate: float,
    parts: Sequence[float],
    connections: int,
) -> list[Load]:
    statuses: list[Counter[int]] = [Counter() for _ in parts]
    times: list[list[float]] = [[] for _ in parts]
    late = [0.0 for _ in parts]
    in_flight: dict[_Client, int] = {}  # with the part in which it was sent
    free: deque[_Client] = deque()

    def done(client: _Client, status: int, elapsed: float) -> None:
        part = in_flight.pop(client)
        free.append(client)
        statuses[part][status] += 1
        if status:
            times[part].append(elapsed)

    clients = [await _connect(port, done) for _ in range(connections)]
    free.extend(clients)
    began = time.perf_counter()
    ends = [began + end for end in accumulate(parts)]
    for number in range(int(rate * sum(parts))):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0.0005:
            await asyncio.sleep(early)
        elif number % 8 == 0:
            await asyncio.sleep(0)
        # Response times start at the actual sending: delays of this process are not the worker's.
        now = time.perf_counter()
        part = bisect(ends, now, hi=len(parts) - 1)
        late[part] = max(late[part], now - due)
        while free and free[0].transport.is_closing():
            free.popleft()
        if free:
            client = free.popleft()
            in_flight[client] = part
            client.send(next(requests), now)
        else:
            statuses[part][NOT_SENT] += 1
    with suppress(TimeoutError):
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            while in_flight:
                await asyncio.sleep(0.01)
    for client in clients:
        client.transport.abort()
    for part in in_flight.values():
        statuses[part][NO_RESPONSE] += 1
    return [
        Load(seconds, +answers, sorted(elapsed), delay)
        for seconds, answers, elapsed, delay in zip(parts, statuses, times, late, strict=True)
    ]


async def _connect(port: int, done: Callable[[_Client, int, float], None]) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(done), "127.0.0.1", port)
    return client

"""A load generator that costs little beside the worker: plain sockets, prepared bytes.

Two kinds of load. ``run`` keeps so many connections busy, each with one request after the other:
that tells what a worker can do. ``at_rate`` sends at a rate, whether answers come or not, as
players do, which tells what they feel, also where the worker falls behind.
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

NOT_SENT = -1
"""Stands for a status: all connections were busy."""

GIVING_UP = 10.0
"""s after which an answer is not waited for any more."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it.

    Attributes:
        seconds: How long it took.
        statuses: Answers by status; under 0 are requests that got none, under -1 those that found
            all connections busy.
        times: How long each answer took in s, ascending.
        late: How late the generator itself was at the most, s.
    """

    seconds: float
    statuses: Counter[int]
    times: list[float]
    late: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second that were accepted."""
        return self.per_second(202)

    def per_second(self, status: int) -> float:
        """Requests a second that this came of."""
        return self.statuses[status] / self.seconds

    def percentile(self, part: float) -> float:
        """ms that this part of the answers took at the most; 0 if there were none."""
        if not self.times:
            return 0.0
        return self.times[min(int(len(self.times) * part), len(self.times) - 1)] * 1000

    @property
    def p99(self) -> float:
        """s that 99% of the answers took at the most."""
        return self.percentile(0.99) / 1000


def posts(bodies: list[bytes]) -> Iterator[bytes]:
    """Requests without end; no worker has seen one of them before, though bodies repeat."""
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        "Idempotency-Key: {}\r\nContent-Length: {}\r\n\r\n"
    )
    for body in cycle(bodies):
        yield head.format(next(_numbers), len(body)).encode() + body


def run(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    """Send requests over so many connections, on each one after the other.

    Raises:
        RuntimeError: One was answered with neither 202 nor 503.
    """
    load = _in_loop(_closed(port, requests, connections, seconds))
    if load.statuses.keys() - {202, 503}:
        raise RuntimeError(f"unexpected answers: {dict(load.statuses)}")
    return load


def at_rate(
    port: int,
    requests: Iterator[bytes],
    rate: float,
    parts: Sequence[float],
    connections: int,
) -> list[Load]:
    """Send so many requests a second, each on a connection that is free.

    Args:
        port: Of the worker.
        requests: The requests.
        rate: Requests a second.
        parts: Seconds for which it is sent, in parts without a pause between them.
        connections: How many are open; a request that finds all busy is not sent.

    Returns:
        What came of each part: of the requests that were sent in it.
    """
    return _in_loop(_open(port, requests, rate, parts, connections))


def _in_loop(load: Coroutine[Any, Any, T]) -> T:
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
            self._end(0)

    def _end(self, status: int) -> None:
        assert self._due is not None
        due, self._due = self._due, None
        self._done(self, status, time.perf_counter() - due)


def _length(head: bytes) -> int:
    """The length that a head announces."""
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])


async def _closed(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    statuses: Counter[int] = Counter()
    times: list[float] = []
    ended = loop.create_future()
    busy = connections
    began = time.perf_counter()
    end = began + seconds

    def done(client: _Client, status: int, took: float) -> None:
        nonlocal busy
        statuses[status] += 1
        times.append(took)
        now = time.perf_counter()
        if now < end and status:
            client.send(next(requests), now)
            return
        busy -= 1
        if not busy and not ended.done():
            ended.set_result(None)

    clients = [await _connect(port, done) for _ in range(connections)]
    for client in clients:
        client.send(next(requests), time.perf_counter())
    await ended
    took = time.perf_counter() - began
    for client in clients:
        client.transport.abort()
    return Load(took, statuses, sorted(times))


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
    under_way: dict[_Client, int] = {}  # and the part in which it was sent
    free: deque[_Client] = deque()

    def done(client: _Client, status: int, took: float) -> None:
        part = under_way.pop(client)
        free.append(client)
        statuses[part][status] += 1
        if status:
            times[part].append(took)

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
        # That this process is late is not the worker's fault.
        now = time.perf_counter()
        part = bisect(ends, now, hi=len(parts) - 1)
        late[part] = max(late[part], now - due)
        while free and free[0].transport.is_closing():
            free.popleft()
        if free:
            client = free.popleft()
            under_way[client] = part
            client.send(next(requests), now)
        else:
            statuses[part][NOT_SENT] += 1
    with suppress(TimeoutError):
        async with asyncio.timeout(GIVING_UP):
            while under_way:
                await asyncio.sleep(0.01)
    for client in clients:
        client.transport.abort()
    for part in under_way.values():
        statuses[part][0] += 1
    return [
        Load(seconds, +answers, sorted(took), delay)
        for seconds, answers, took, delay in zip(parts, statuses, times, late, strict=True)
    ]


async def _connect(port: int, done: Callable[[_Client, int, float], None]) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(done), "127.0.0.1", port)
    return client

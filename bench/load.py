"""A load generator that costs little beside the worker: plain sockets, prepared bytes."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle

_numbers = count()


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it.

    Attributes:
        rate: Requests a second.
        p99: s that 99% of the requests took at the most.
    """

    rate: float
    p99: float


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
        RuntimeError: One was not answered with 202.
    """
    return asyncio.run(_run(port, requests, connections, seconds))


async def _run(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    began = time.perf_counter()
    end = began + seconds
    times: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_client(port, requests, end, times))
    times.sort()
    return Load(len(times) / (time.perf_counter() - began), times[int(len(times) * 0.99)])


async def _client(port: int, requests: Iterator[bytes], end: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (begin := time.perf_counter()) < end:
        writer.write(next(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(head.decode())
        await reader.readexactly(_length(head))
        times.append(time.perf_counter() - begin)
    writer.close()


def _length(head: bytes) -> int:
    """The length that a head announces."""
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])

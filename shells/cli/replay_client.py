"""Sends a recording to a worker: ``openqoe replay``."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import random
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ..service.clock import monotonic
from ..service.logs import printable
from .recording import RecordedBatch, shifted

EVENTS_PATH: Final = "/v2/events"

MAX_PROBLEMS: Final = 10
"""Refusals that are told one by one."""

HOPELESS: Final = frozenset({401, 403, 404, 405})
"""Answers that every further batch would get, too."""

NOT_SENT_ON: Final = frozenset(
    (
        *("host", "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "cookie"),
        *("content-length", "transfer-encoding", "content-encoding", "accept-encoding"),
        *("authorization", "x-api-key", "x-api-token"),
    )
)
"""Headers of a recorded request that belong to its connection, its coding or its sender."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a recording goes, and how.

    Attributes:
        url: The worker; with a path, all batches go there, else to the path that they were
            recorded with.
        key: The API key; "" for none.
        speed: How many times as fast as it was recorded; 0 as fast as the worker takes it.
        shift: ms by which the times of all events are moved.
        concurrency: Requests under way at once.
        patience: Seconds for which a batch is tried while the worker is away or busy.
    """

    url: str
    key: str = ""
    speed: float = 0.0
    shift: int = 0
    concurrency: int = 1
    patience: float = 60.0


@dataclass(slots=True)
class Tally:
    """What came of a replay.

    Attributes:
        batches: Batches that were answered.
        accepted: Events that the worker took.
        refused: Events it did not take.
        refused_batches: Batches of which it took nothing.
        problems: Why, by line; no more than MAX_PROBLEMS.
        stopped: Why the rest was not sent; "" if all was.
        seconds: How long it took.
    """

    batches: int = 0
    accepted: int = 0
    refused: int = 0
    refused_batches: int = 0
    problems: list[str] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0


class _Answer(msgspec.Struct):
    message: str = ""
    error: str = ""
    errors: list[dict[str, str | int | float | None]] = []
    events_received: int = 0
    events_accepted: int | None = None
    events_rejected: int = 0


class _StopError(Exception):
    """The rest cannot be sent."""


def replay(
    batches: Iterable[RecordedBatch],
    target: Target,
    tally: Tally,
    progress: Callable[[int], None],
    begin: float | None,
) -> None:
    """Send batches until all are answered, or one cannot be.

    Args:
        batches: What is sent, in this order (concurrent requests may overtake each other).
        target: Where to.
        tally: Is filled in as answers come, so that it is true after an interrupt as well.
        progress: Is told of every batch that was answered.
        begin: Time of the recording's first batch in ms, if there is one.
    """
    asyncio.run(_Sender(target, tally, progress, begin).send_all(batches))


class _Sender:
    def __init__(
        self, target: Target, tally: Tally, progress: Callable[[int], None], begin: float | None
    ) -> None:
        self._target = target
        self._tally = tally
        self._progress = progress
        self._begin = begin
        address = urlsplit(target.url)
        self._path = "" if address.path in ("", "/") else target.url
        self._base = target.url.rstrip("/")

    async def send_all(self, batches: Iterable[RecordedBatch]) -> None:
        target, started = self._target, monotonic()
        free = asyncio.Semaphore(target.concurrency)
        timeout = aiohttp.ClientTimeout(total=30)
        try:
            async with aiohttp.ClientSession(
                timeout=timeout, trust_env=True, cookie_jar=aiohttp.DummyCookieJar()
            ) as session:
                try:
                    async with asyncio.TaskGroup() as group:
                        for batch in batches:
                            await self._wait_for(batch, started)
                            await free.acquire()
                            task = group.create_task(self._send(session, batch))
                            task.add_done_callback(lambda _: free.release())
                except* _StopError as stops:
                    self._tally.stopped = str(stops.exceptions[0])
        finally:
            self._tally.seconds = monotonic() - started

    async def _wait_for(self, batch: RecordedBatch, started: float) -> None:
        if self._target.speed and self._begin is not None and batch.at is not None:
            due = started + (batch.at - self._begin) / 1000 / self._target.speed
            if (wait := due - monotonic()) > 0:
                await asyncio.sleep(wait)

    async def _send(self, session: aiohttp.ClientSession, batch: RecordedBatch) -> None:
        """Send a batch until the worker decides about it, as the SDKs do."""
        shift = self._target.shift
        body = shifted(batch.body, shift) if shift else batch.body
        url = self._path or self._base + (batch.path or EVENTS_PATH)
        end = monotonic() + self._target.patience
        delay = 0.25
        while True:
            wait = 0.0
            try:
                async with session.post(
                    url, data=body, headers=self._headers(batch), allow_redirects=False
                ) as response:
                    content = await response.read()
                    if response.status < 500 and response.status != 429:
                        self._take(batch, response.status, content)
                        return
                    said = f"{response.status} {_parsed(content).message}"
                    wait = _seconds(response.headers.get("Retry-After", ""))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                said = str(error) or type(error).__name__
            except ValueError as error:  # a URL or a header that cannot be sent
                raise _StopError(f"line {batch.line}: {error}") from None
            wait = max(wait, delay * (0.5 + random() / 2))
            if monotonic() + wait > end:
                raise _StopError(f"line {batch.line}: {printable(said)}")
            await asyncio.sleep(wait)
            delay = min(2 * delay, 5.0)

    def _headers(self, batch: RecordedBatch) -> dict[str, str]:
        headers = {
            name: value for name, value in batch.headers.items() if name.lower() not in NOT_SENT_ON
        }
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        if self._target.key:
            headers["Authorization"] = f"Bearer {self._target.key}"
        return headers

    def _take(self, batch: RecordedBatch, status: int, content: bytes) -> None:
        answer = _parsed(content)
        said = f"line {batch.line}: {status} {printable(_words(answer))}".rstrip()
        if status in HOPELESS:
            raise _StopError(said)
        tally = self._tally
        tally.batches += 1
        if 200 <= status < 300:
            accepted = answer.events_accepted
            tally.accepted += answer.events_received if accepted is None else accepted
            tally.refused += answer.events_rejected
        else:
            tally.refused_batches += 1
        is_fault = answer.events_rejected or not 200 <= status < 300
        if is_fault and len(tally.problems) < MAX_PROBLEMS:
            tally.problems.append(said)
        self._progress(1)


def _parsed(content: bytes) -> _Answer:
    try:
        return msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Answer()


def _words(answer: _Answer) -> str:
    """What the worker says, with the first of its reasons."""
    words = answer.message
    if answer.error:
        words += f": {answer.error}"
    if answer.errors:
        fault = answer.errors[0]
        where = "" if fault.get("index") is None else f"event {fault['index']}: "
        words += f": {where}{fault.get('field')} {fault.get('error')}"
    return words


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0

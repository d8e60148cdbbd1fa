"""Sends what simulated viewers send: ``openqoe simulate``.

Thin: the model says what is sent and when. Requests of one viewer follow each other, those of
different viewers go over several connections. Answers are judged as the SDKs do: 5xx and failures
of the network are tried again, anything below is final.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import random
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from openqoe.simulator import Batch, Simulation, Truth

from ..service.clock import monotonic, now_ms
from ..service.logs import printable

DELAYS: Final = (1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0)
"""Seconds before each further try: an SDK sends a batch ten times at the most."""

HOPELESS: Final = frozenset({401, 403, 404, 405})
"""Answers that every further batch would get, too."""

WAITING: Final = 64
"""Batches that may wait for one connection; then the viewers wait."""

PATIENCE: Final = 10.0
"""Seconds that answers have to come once it ends."""

MAX_PROBLEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """How a simulation is sent.

    Attributes:
        url: The worker; with a path, everything goes there.
        key: The API key; "" for none.
        speed: Viewers' seconds a second until the present is reached; 0: as fast as the worker
            takes it.
        duration: ms of the viewers' time; None: until it is stopped.
        connections: How many requests at once.
        patience: Seconds that the worker has to be there at the start.
    """

    url: str
    key: str = ""
    speed: float = 1.0
    duration: float | None = None
    connections: int = 16
    patience: float = 10.0


@dataclass(slots=True)
class Tally:
    """What came of it.

    Attributes:
        truth: What the worker must have counted.
        batches, events: Accepted, copies not counted.
        copies: Batches sent again on purpose and acknowledged.
        late: Accepted batches that had waited for the viewer's network.
        refused: Batches the worker refused for good, or of which it refused a part.
        given_up: Batches that were tried often enough, or were under way at the end.
        retries: How many times a batch had to be sent again.
        problems: The first reasons.
        stopped: Why it ended before its time; "" if it did not.
        virtual: The viewers' time, ms since the epoch.
        behind: Seconds by which sending is late.
        seconds: How long it took so far.
    """

    truth: Truth = field(default_factory=Truth)
    batches: int = 0
    events: int = 0
    copies: int = 0
    late: int = 0
    refused: int = 0
    given_up: int = 0
    retries: int = 0
    problems: list[str] = field(default_factory=list)
    stopped: str = ""
    virtual: float = 0.0
    behind: float = 0.0
    seconds: float = 0.0

    @property
    def is_exact(self) -> bool:
        """Whether the worker must have counted exactly the truth."""
        return not (self.refused or self.given_up)


class _Answer(msgspec.Struct):
    message: str = ""
    events_rejected: int = 0


_decode_answer = msgspec.json.Decoder(_Answer).decode


class _StopError(Exception):
    """The rest cannot be sent."""


def simulate(simulation: Simulation, plan: Plan, tally: Tally, tick: Callable[[], None]) -> None:
    """Send until the duration is over, a signal comes, or the worker wants none of it.

    Args:
        simulation: What is sent.
        plan: How.
        tally: Is filled in as answers come.
        tick: Is called every second; ends it by saying why in ``tally.stopped``.
    """
    asyncio.run(_Sender(simulation, plan, tally, tick).run())


class _Sender:
    def __init__(
        self, simulation: Simulation, plan: Plan, tally: Tally, tick: Callable[[], None]
    ) -> None:
        self._simulation = simulation
        self._plan = plan
        self._tally = tally
        self._tick = tick
        self._stop = asyncio.Event()
        self._failed: set[int] = set()  # bodies that were not accepted, of which a copy follows
        self._has_path = urlsplit(plan.url).path not in ("", "/")
        self._base = plan.url.rstrip("/")
        self._key = {"Authorization": f"Bearer {plan.key}"} if plan.key else {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        began = monotonic()
        connector = aiohttp.TCPConnector(limit=self._plan.connections)
        timeout = aiohttp.ClientTimeout(total=60)
        try:
            async with aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                trust_env=True,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session:
                ticker = asyncio.create_task(self._ticks(began))
                try:
                    await self._run(session)
                finally:
                    ticker.cancel()
                    with suppress(asyncio.CancelledError):
                        await ticker
        finally:
            self._tally.seconds = monotonic() - began

    def _interrupt(self) -> None:
        self._tally.stopped = self._tally.stopped or "interrupted"
        self._stop.set()

    async def _ticks(self, began: float) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._tally.seconds = monotonic() - began
            self._tick()
            if self._tally.stopped:
                self._stop.set()

    async def _run(self, session: aiohttp.ClientSession) -> None:
        if not await self._is_there(session):
            return
        lanes: list[asyncio.Queue[Batch | None]] = [
            asyncio.Queue(WAITING) for _ in range(self._plan.connections)
        ]
        senders = [asyncio.create_task(self._send_all(session, lane)) for lane in lanes]
        producer = asyncio.create_task(self._produce(lanes))
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((producer, stop, *senders), return_when=asyncio.FIRST_COMPLETED)
            if producer.done():
                producer.result()
                ends = asyncio.gather(*(lane.put(None) for lane in lanes), *senders)
                await asyncio.wait((ends, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            producer.cancel()
            stop.cancel()
            self._stop.set()
        for lane in lanes:
            while not lane.empty():
                lane.get_nowait()  # not sent, so not told
            lane.put_nowait(None)
        _, late = await asyncio.wait(senders, timeout=PATIENCE)
        for task in late:
            task.cancel()
            self._tally.given_up += 1
        for result in await asyncio.gather(*senders, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _is_there(self, session: aiohttp.ClientSession) -> bool:
        """Wait until the worker answers at all."""
        address = urlsplit(self._plan.url)
        end = monotonic() + self._plan.patience
        while not self._stop.is_set():
            try:
                async with session.get(f"{address.scheme}://{address.netloc}/health") as response:
                    await response.read()
                    return True
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if monotonic() > end:
                    said = printable(str(error) or type(error).__name__)
                    self._tally.stopped = f"nobody answers at {printable(self._plan.url)}: {said}"
                    return False
            await asyncio.sleep(0.2)
        return False

    async def _produce(self, lanes: list[asyncio.Queue[Batch | None]]) -> None:
        plan, tally = self._plan, self._tally
        start, begun = self._simulation.start, now_ms()
        for batch in self._simulation.batches():
            if plan.duration is not None and batch.at > start + plan.duration:
                tally.virtual = start + plan.duration
                return
            # In the past things go at their speed; nothing is sent before it happens.
            spent = (batch.at - start) / plan.speed if plan.speed else 0.0
            due = max(batch.at, begun + spent)
            while (wait := due - now_ms()) > 0:
                tally.virtual = max(tally.virtual, batch.at - wait * max(plan.speed, 1.0))
                await asyncio.sleep(min(wait, 250.0) / 1000)
            tally.virtual = batch.at
            tally.behind = max(0.0, -wait / 1000) if plan.speed else 0.0
            await lanes[batch.viewer % len(lanes)].put(batch)

    async def _send_all(
        self, session: aiohttp.ClientSession, lane: asyncio.Queue[Batch | None]
    ) -> None:
        while (batch := await lane.get()) is not None and not self._stop.is_set():
            try:
                await self._send(session, batch)
            except _StopError as stop:
                self._tally.stopped = self._tally.stopped or str(stop)
                self._stop.set()
                return

    async def _send(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        """Send a batch until the worker decides about it."""
        url = self._base if self._has_path else self._base + batch.path
        headers = {**dict(batch.headers), **self._key}
        said = ""
        for delay in (*DELAYS, None):
            try:
                async with session.post(
                    url, data=batch.body, headers=headers, allow_redirects=False
                ) as response:
                    content = await response.read()
                    if response.status < 500:
                        self._take(batch, response.status, content)
                        return
                    said = f"{response.status} {_words(content)}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                said = str(error) or type(error).__name__
            except ValueError as error:  # a URL or key that cannot be sent
                raise _StopError(printable(str(error))) from None
            if delay is None:
                break
            self._tally.retries += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay + random())
                break  # stopped: once more would be once too many
        self._lose(batch)
        self._tally.given_up += not batch.is_copy
        self._note(f"given up: {said}")

    def _take(self, batch: Batch, status: int, content: bytes) -> None:
        tally = self._tally
        said = f"{status} {_words(content)}"
        if status in HOPELESS:
            raise _StopError(f"the worker answers {printable(said)}")
        if not 200 <= status < 300:
            self._lose(batch)
            tally.refused += not batch.is_copy
            self._note(said)
            return
        if batch.is_copy:
            tally.copies += 1
            if id(batch.told) not in self._failed:
                return
            self._failed.discard(id(batch.told))
        if _answer(content).events_rejected:
            tally.refused += 1
            self._note(said)
        tally.batches += 1
        tally.events += len(batch.types)
        tally.late += batch.is_late
        for labels, facts in batch.told:
            tally.truth.take(labels, facts)

    def _lose(self, batch: Batch) -> None:
        if batch.copy_at is not None:
            self._failed.add(id(batch.told))

    def _note(self, said: str) -> None:
        if len(self._tally.problems) < MAX_PROBLEMS:
            self._tally.problems.append(printable(said))


def _answer(content: bytes) -> _Answer:
    try:
        return _decode_answer(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Answer()


def _words(content: bytes) -> str:
    return _answer(content).message

"""Measures the CPU time and disk space of the embedded store by events per second.

    python -m bench.embedded

Six minutes of simulated time: recorded events under ever new view ids, with 200 videos and a few
countries, devices and browsers in a skewed distribution. A worker in this process counts them, and
its flushes go to the store. Measured are the store's CPU time for decoding and writing, without
waiting for the disk, and the growth of its file with indexes, both over the second half, when most
series exist already.
"""

import json
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

from bench.workload import events
from openqoe.core import (
    Config,
    HttpResult,
    LokiPush,
    Notice,
    RemoteWrite,
    Request,
    StoreViews,
    Worker,
)
from openqoe.embedded.retention import used_bytes
from openqoe.embedded.sample_schema import FILE, open_writer
from openqoe.embedded.sample_writer import SampleWriter
from tests.support.handling import handle

RATES = (1, 10, 100, 1_000)
MINUTES = 6
EVENTS_PER_VIEW = 30
VIDEOS = 200
COUNTRIES = ("DE", "FR", "US", "GB", "BR", "IN", "JP", "NO")
BROWSERS = ("Chrome", "Firefox", "Safari", "Edge")
DEVICES = ("desktop", "mobile", "tablet", "tv")


def batches(rate: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Batches of ten events with their times, at ``rate`` events per second."""
    chance = random.Random(4)
    recorded = events()
    views = count()
    playing = [_viewer(chance, next(views)) for _ in range(max(1, rate))]
    for number in range(rate * MINUTES * 60 // 10):
        at = start + number * 10_000 // rate
        place = number % len(playing)
        base, position = playing[place]
        chosen = (recorded[(position + n) % len(recorded)] for n in range(10))
        body = [{**one, **base, "event_time": at, "viewer_time": at} for one in chosen]
        playing[place] = (base, position + 10)
        if position + 10 >= EVENTS_PER_VIEW:
            playing[place] = _viewer(chance, next(views))
        yield at, json.dumps({"events": body}).encode()


def _viewer(chance: random.Random, number: int) -> tuple[dict[str, object], int]:
    film = int(chance.paretovariate(1)) % VIDEOS
    return {
        "view_id": f"00000000-0000-4000-8000-{number:012}",
        "network": {"country_code": _skewed(chance, COUNTRIES)},
        "device": {"category": _skewed(chance, DEVICES)},
        "browser": {"family": _skewed(chance, BROWSERS)},
        "video": {"id": f"film-{film}", "title": f"Film {film}"},
    }, 0


def _skewed(chance: random.Random, values: tuple[str, ...]) -> str:
    return values[int(chance.paretovariate(1.5)) % len(values) - 1]


def measure(rate: int, directory: Path) -> str:
    start = int(time.time() * 1000)
    worker = Worker(Config(), instance="bench-0", budget=1_000_000, embedded=True)
    with closing(open_writer(directory / FILE, full=False)) as database:
        tables = SampleWriter(database, worker.config)
        spent = longest = 0.0
        accepted = 0

        def run(effects: Iterator[object], now: int) -> None:
            nonlocal spent, longest
            todo = list(effects)
            while todo:
                effect = todo.pop(0)
                if isinstance(effect, Notice):
                    continue
                assert isinstance(effect, RemoteWrite | LokiPush | StoreViews)
                begin = time.process_time()
                if isinstance(effect, RemoteWrite):
                    tables.write_metrics(effect.body)
                elif isinstance(effect, StoreViews):
                    tables.write_views(effect.body)
                else:
                    tables.write_logs(effect.body, dict(effect.headers)["Content-Type"])
                elapsed = time.process_time() - begin
                spent, longest = spent + elapsed, max(longest, elapsed)
                todo += worker.complete(effect.id, HttpResult(204), now)

        half = start + MINUTES * 30_000
        warm: tuple[float, int, int] | None = None
        for now, body in batches(rate, start):
            if warm is None and now >= half:
                warm = spent, accepted, used_bytes(database)
            outcome = handle(
                worker, Request("POST", "/v1/events", body=body, first_byte_at=now), now
            )
            assert outcome.response.status == 202, outcome.response.body
            accepted += 10
            run(iter(outcome.effects), now)
            due = worker.next_poll()
            if due is not None and due <= now:
                run(iter(worker.poll(now)), now)
        assert warm is not None
        (series,) = database.execute("SELECT count(*) FROM series").fetchone()
        bytes_each = (used_bytes(database) - warm[2]) / (accepted - warm[1])
    share = (spent - warm[0]) / (MINUTES * 30)
    hours = worker.config.embedded_max_bytes / (rate * bytes_each) / 3_600
    return (
        f"{rate:9}{series:9}{share:11.1%}{longest * 1000:12.0f}"
        f"{(accepted - warm[1]) / (spent - warm[0]):14.0f}{bytes_each:13.0f}{hours:16.1f}"
    )


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(
        f"{'events/s':>9}{'series':>9}{'of a core':>11}{'longest ms':>12}{'events/CPU s':>14}"
        f"{'bytes/event':>13}{'hours in 2 GiB':>16}"
    )
    for rate in RATES:
        with tempfile.TemporaryDirectory() as directory:
            print(measure(rate, Path(directory)), flush=True)


if __name__ == "__main__":
    main()

"""What the embedded store costs: CPU and disk by events a second.

    python -m bench.embedded

Viewers play for five minutes of a clock of their own: real recorded events under view ids that are
new all the time, from a handful of countries, devices and browsers and a catalogue of 200 videos.
A worker in this process counts them; what it flushes goes to the store, whose CPU time is
measured (decoding, writing, fsync not counted). Lower bounds of the share of one core, then: how
much of the time the store is at work. The bytes are those of the file, indexes and all.
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
from openqoe.core import Config, HttpResult, LokiPush, Notice, RemoteWrite, Request, Worker
from openqoe.shells.embedded.retention import used_bytes
from openqoe.shells.embedded.schema import FILE, open_writer
from openqoe.shells.embedded.writing import Tables

RATES = (10, 100, 500, 1_000)
MINUTES = 5
EVENTS_A_VIEW = 30
VIDEOS = 200
COUNTRIES = ("DE", "FR", "US", "GB", "BR", "IN", "JP", "NO")
BROWSERS = ("Chrome", "Firefox", "Safari", "Edge")
DEVICES = ("desktop", "mobile", "tablet", "tv")


def batches(rate: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Batches of ten events with their times, ``rate`` events a second."""
    chance = random.Random(4)
    recorded = events()
    views = count()
    playing = [_viewer(chance, next(views)) for _ in range(max(1, rate))]
    for number in range(rate * MINUTES * 60 // 10):
        at = start + number * 10_000 // rate
        place = number % len(playing)
        base, told = playing[place]
        chosen = (recorded[(told + n) % len(recorded)] for n in range(10))
        body = [{**one, **base, "event_time": at, "viewer_time": at} for one in chosen]
        playing[place] = (base, told + 10)
        if told + 10 >= EVENTS_A_VIEW:
            playing[place] = _viewer(chance, next(views))
        yield at, json.dumps({"events": body}).encode()


def _viewer(chance: random.Random, number: int) -> tuple[dict[str, object], int]:
    film = int(chance.paretovariate(1)) % VIDEOS
    return {
        "view_id": f"00000000-0000-4000-8000-{number:012}",
        "network": {"country_code": chance.choice(COUNTRIES)},
        "device": {"category": chance.choice(DEVICES)},
        "browser": {"family": chance.choice(BROWSERS)},
        "video": {"id": f"film-{film}", "title": f"Film {film}"},
    }, 0


def measure(rate: int, directory: Path) -> str:
    start = int(time.time() * 1000)
    worker = Worker(Config(), instance="bench-0", pace=1_000_000, embedded=True)
    with closing(open_writer(directory / FILE, full=False)) as database:
        tables = Tables(database, worker.config.cardinality_limits["video_id"])
        spent = longest = 0.0
        taken = 0

        def run(effects: Iterator[object], now: int) -> None:
            nonlocal spent, longest
            todo = list(effects)
            while todo:
                effect = todo.pop(0)
                if isinstance(effect, Notice):
                    continue
                assert isinstance(effect, RemoteWrite | LokiPush)
                began = time.process_time()
                if isinstance(effect, RemoteWrite):
                    tables.write_metrics(effect.body)
                else:
                    tables.write_logs(effect.body, dict(effect.headers)["Content-Type"])
                took = time.process_time() - began
                spent, longest = spent + took, max(longest, took)
                todo += worker.complete(effect.id, HttpResult(204), now)

        for now, body in batches(rate, start):
            outcome = worker.handle(Request("POST", "/v1/events", body=body, received=now), now)
            assert outcome.response.status == 202, outcome.response.body
            taken += 10
            run(iter(outcome.effects), now)
            due = worker.next_poll()
            if due is not None and due <= now:
                run(iter(worker.poll(now)), now)
        (series,) = database.execute("SELECT count(*) FROM series").fetchone()
        (samples,) = database.execute("SELECT count(*) FROM samples").fetchone()
        size = used_bytes(database)
    share = spent / (MINUTES * 60)
    return (
        f"{rate:9}{series:9}{samples / MINUTES / 60:11.0f}{share:10.1%}{longest * 1000:12.0f}"
        f"{taken / spent:13.0f}{size / taken:14.0f}"
    )


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(
        f"{'events/s':>9}{'series':>9}{'samples/s':>11}{'of a core':>10}{'longest ms':>12}"
        f"{'events/CPU s':>13}{'bytes/event':>14}"
    )
    for rate in RATES:
        with tempfile.TemporaryDirectory() as directory:
            print(measure(rate, Path(directory)), flush=True)


if __name__ == "__main__":
    main()

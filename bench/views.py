"""Measures the list of views and the page of a view with a million views in the store.

    python -m bench.views

Fills a store with views of the last 24 hours, then asks the dashboard's questions, and upserts the
rows of a flush. Each has a row, with the time by the clock and the CPU time, which other processes
of the machine disturb less.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from openqoe.core.config.worker_config import Config
from openqoe.core.qoe.view_rows import ViewRow
from openqoe.core.wire import view_rows
from openqoe.core.wire.loki_push import ENCODINGS, format_labels
from openqoe.dashboard.dashboard_api import Api
from openqoe.dashboard.view_queries import MOST_EVENTS, SORTS
from openqoe.embedded.retention import used_bytes
from openqoe.embedded.sample_schema import FILE, open_writer
from openqoe.embedded.sample_writer import SampleWriter

VIEWS = 1_000_000
BLOCK = 5_000
DAY = 86_400_000
REPEATS = 5
FLUSH = 1_000
"""Views that a flush updates: as many viewers at once."""

LONG: Final = "long"
"""A view with as many events as its page shows."""

QUESTIONS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("views", {"last": "1h"}),
    ("views", {}),
    ("views", {"outcome": "start_failure"}),
    ("views", {"outcome": "running"}),
    ("views", {"min_rebuffer": "30"}),
    ("views", {"min_startup": "10", "sort": "startup_ms"}),
    *(("views", {"sort": sort}) for sort in SORTS),
    ("views", {"video_id": "film-7", "sort": "startup_ms"}),
    ("views", {"video_id": "film-1", "sort": "score"}),
    ("views", {"viewer_id": "viewer-77"}),
    ("views", {"network_country": "DE", "device_category": "tv", "sort": "rebuffer_ms"}),
    ("views", {"app_version": "1.0.9"}),
    ("views", {"content_type": "none"}),
    ("views", {"error_code": "E77"}),
    ("views", {"error_code": "none"}),
    ("views", {"outcome": "start_failure", "min_startup": "900"}),
    ("view", {"org_id": "acme", "view_id": f"00000000-0000-4000-8000-{VIEWS // 2:012}"}),
    ("view", {"org_id": "acme", "view_id": LONG}),
)
"""Lists of the last 24 hours, in which all views are, and pages. Filters that match few views read
the most."""

_EMPTY: dict[str, Any] = {
    field.name: None if "None" in str(field.type) else "" if "str" in str(field.type) else 0
    for field in msgspec.structs.fields(ViewRow)
}

_encode = msgspec.msgpack.Encoder().encode


def values(number: int, now: int, chance: random.Random) -> dict[str, Any]:
    """A view of the last 24 hours; a tenth of them stalls, a hundredth fails."""
    seen = now - DAY + number * (DAY // VIEWS)
    stalls = int(chance.paretovariate(1.5)) if chance.random() < 0.1 else 0
    outcome = "start_failure" if chance.random() < 0.01 else "stopped"
    return {
        **_EMPTY,
        "org_id": "acme",
        "view_id": f"00000000-0000-4000-8000-{number:012}",
        "video_id": f"film-{int(chance.paretovariate(1)) % 1000}",
        "player": "hlsjs",
        "session_id": f"00000000-0000-4000-9000-{number:012}",
        "viewer_id": f"viewer-{number % 100_000}",
        "title": "A film with a title of usual length",
        "error_code": f"E{chance.randrange(100)}" if outcome == "start_failure" else None,
        "errors": int(outcome == "start_failure"),
        "player_id": "web-player",
        "env": "production",
        "app_name": "Acme Play",
        "app_version": f"12.{chance.randrange(10)}.0",
        "device_category": chance.choice(("desktop", "mobile", "tv")),
        "os_family": chance.choice(("Windows", "Android", "macOS")),
        "browser_family": chance.choice(("Chrome", "Safari", "Firefox")),
        "network_country": chance.choice(("DE", "FR", "US")),
        "player_name": "hlsjs",
        "content_type": "vod",
        "updated_at": seen,
        "began_at": seen - 600_000,
        "last_seen": seen,
        "state": "left",
        "outcome": outcome,
        "is_live": False,
        "startup_ms": int(800 * chance.paretovariate(2)),
        "watch_ms": int(600_000 * chance.random()),
        "rebuffers": stalls,
        "rebuffer_ms": 3_000 * stalls,
        "score": 100 * chance.random(),
    }


def rows(numbers: range, now: int, chance: random.Random) -> bytes:
    return view_rows.encode_request(
        [_encode(ViewRow(**values(number, now, chance))) for number in numbers]
    )


def store_long_view(writer: SampleWriter, now: int) -> None:
    """Store a view with ``MOST_EVENTS`` events."""
    begin = now - 2_000 * MOST_EVENTS
    row = {**values(VIEWS - 1, now, random.Random(1)), "view_id": LONG}
    writer.write_views(view_rows.encode_request([_encode(ViewRow(**row))]))
    encoding = ENCODINGS["protobuf"]
    entries = []
    for number in range(MOST_EVENTS):
        event = {
            "event_type": "heartbeat" if number else "playing",
            "event_time": begin + 2_000 * number,
            "playback_time": 2_000 * number,
            **{name: row[name] for name in ("org_id", "view_id", "session_id", "viewer_id")},
            "player": {"name": "hlsjs"},
            "video": {"id": row["video_id"], "title": row["title"]},
            "data": {"playing_time": 2_000 * number, "buffer_length": 12_000},
        }
        metadata = encoding.encode_metadata((("view_id", LONG),))
        entries.append((event["event_time"], json.dumps(event).encode(), metadata))
    body = encoding.encode_request([(format_labels([("org_id", "acme")]), entries)])
    writer.write_logs(body, dict(encoding.headers)["Content-Type"])


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Time by the clock and CPU time of an action, ms."""
    begin, cpu = time.perf_counter(), time.process_time()
    action()
    return (time.perf_counter() - begin) * 1000, (time.process_time() - cpu) * 1000


def report(name: str, spent: Sequence[tuple[float, float]]) -> None:
    """Print the worst time, and the median and the worst of CPU time."""
    cpu = [used for _, used in spent]
    worst = max(elapsed for elapsed, _ in spent)
    print(f"{median(cpu):8.0f} {max(cpu):8.0f} {worst:8.0f}  {name}", flush=True)


def main() -> None:
    chance = random.Random(4)
    now = int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        config = Config.from_environment({"OPENQOE_DATA_DIR": folder})
        database = open_writer(path, full=False)
        writer = SampleWriter(database, config)
        empty = used_bytes(database)
        blocks = []
        for begin in range(0, VIEWS, BLOCK):
            body = rows(range(begin, begin + BLOCK), now, chance)
            blocks.append(timed(partial(writer.write_views, body)))
        print(f"{VIEWS:,} views: {(used_bytes(database) - empty) / VIEWS:.0f} bytes each")
        store_long_view(writer, now)
        print("ms of CPU, median and worst; worst by the clock")
        report(f"write {BLOCK:,} new rows", blocks)
        flush = [rows(range(VIEWS - FLUSH, VIEWS), now + n, chance) for n in range(REPEATS)]
        report(
            f"upsert the {FLUSH:,} rows of a flush",
            [timed(partial(writer.write_views, body)) for body in flush],
        )
        for question, given in QUESTIONS:
            query = {"last": "24h", **given} if question == "views" else given
            # A new API each time, whose cache is empty.
            spent = [
                timed(partial(Api(config, path).answer, question, query)) for _ in range(REPEATS)
            ]
            assert Api(config, path).answer(question, query).status == 200
            report(" ".join([question, *(f"{k}={v}" for k, v in query.items())]), spent)
        database.close()


if __name__ == "__main__":
    main()

"""Measures the list of views and the page of a view with a million views in the store.

    python -m bench.views

Fills a store with views of the last 24 hours, then asks the dashboard's questions, and upserts the
rows of a flush. Prints the median and the longest of several answers in ms.
"""

import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from openqoe.core.config.worker_config import Config
from openqoe.core.qoe.view_rows import ViewRow
from openqoe.core.wire import view_rows
from openqoe.dashboard.dashboard_api import Api
from openqoe.embedded.retention import used_bytes
from openqoe.embedded.sample_schema import FILE, open_writer
from openqoe.embedded.sample_writer import SampleWriter

VIEWS = 1_000_000
BLOCK = 5_000
DAY = 86_400_000
REPEATS = 5
FLUSH = 1_000
"""Views that a flush updates: as many viewers at once."""

QUESTIONS: tuple[tuple[str, dict[str, str]], ...] = (
    ("views", {"last": "1h"}),
    ("views", {"last": "24h"}),
    ("views", {"last": "24h", "outcome": "start_failure"}),
    ("views", {"last": "24h", "min_rebuffer": "30"}),
    ("views", {"last": "24h", "sort": "rebuffer_ms"}),
    ("views", {"last": "24h", "video_id": "film-7", "sort": "startup_ms"}),
    ("views", {"last": "24h", "viewer_id": "viewer-77"}),
    ("views", {"last": "24h", "error_code": "no such code"}),
    ("view", {"org_id": "acme", "view_id": "00000000-0000-4000-8000-000000500000"}),
)

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
        "device_category": chance.choice(("desktop", "mobile", "tv")),
        "network_country": chance.choice(("DE", "FR", "US")),
        "player_name": "hlsjs",
        "updated_at": seen,
        "began_at": seen - 600_000,
        "last_seen": seen,
        "state": "left",
        "outcome": outcome,
        "is_live": False,
        "startup_ms": int(800 * chance.paretovariate(2)),
        "watch_ms": 600_000,
        "rebuffers": stalls,
        "rebuffer_ms": 3_000 * stalls,
        "score": 90.0,
    }


def rows(numbers: range, now: int, chance: random.Random) -> bytes:
    return view_rows.encode_request(
        [_encode(ViewRow(**values(number, now, chance))) for number in numbers]
    )


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    chance = random.Random(4)
    now = int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        config = Config.from_environment({"OPENQOE_DATA_DIR": folder})
        database = open_writer(path, full=False)
        writer = SampleWriter(database, config.cardinality_limits["video_id"])
        empty = used_bytes(database)
        blocks = []
        for begin in range(0, VIEWS, BLOCK):
            body = rows(range(begin, begin + BLOCK), now, chance)
            blocks.append(timed(partial(writer.write_views, body)))
        print(f"{VIEWS:,} views: {(used_bytes(database) - empty) / VIEWS:.0f} bytes each")
        print(f"writing {BLOCK:,} new rows: median {median(blocks):.0f} ms")
        flush = rows(range(VIEWS - FLUSH, VIEWS), now, chance)
        spent = [timed(partial(writer.write_views, flush)) for _ in range(REPEATS)]
        print(f"upserting the {FLUSH:,} rows of a flush: median {median(spent):.0f} ms")
        for question, query in QUESTIONS:
            # A new API each time, whose cache is empty.
            spent = [
                timed(partial(Api(config, path).answer, question, query)) for _ in range(REPEATS)
            ]
            text = " ".join(f"{name}={value}" for name, value in query.items())
            print(f"{median(spent):8.0f} ms {max(spent):8.0f} ms  {question} {text}")
        database.close()


if __name__ == "__main__":
    main()

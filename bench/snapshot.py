"""Bytes and ms of a snapshot, for 100,000 views and for 100,000 series.

python -m bench.snapshot
"""

import time
import uuid
from collections.abc import Iterator

from openqoe.core import Config, Request, Worker
from tests.support.events import batch, event

COUNT = 100_000
RUNS = 5
BATCH = 500


def views(now: int) -> Iterator[bytes]:
    """Views that play, under ids as players make them."""
    for first in range(0, COUNT, BATCH):
        yield batch(
            *(
                event(
                    "heartbeat",
                    at=now - n % 9_973,
                    view_id=str(uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)),
                    video={"id": f"film-{n % 300}"},
                    playback_time=n % 86_399,
                    data={"playing_time": n % 77_773, "bitrate": 250_000 * (1 + n % 9)},
                )
                for n in range(first, first + BATCH)
            )
        )


def series(now: int) -> Iterator[bytes]:
    """Counters and histograms of many players, each with 20 codes of errors."""
    for first in range(0, COUNT, BATCH):
        yield batch(
            *(
                event(
                    "error",
                    at=now,
                    view_id="unknown",
                    player_id=f"player-{n // 20}",
                    data={"error_family": "network", "error_code": n % 20},
                )
                for n in range(first, first + BATCH)
            )
        )


def main() -> None:
    now = int(time.time() * 1000)
    config = Config(max_series=10**7)
    print(f"{'':7} {'count':>7} {'bytes each':>10} {'write ms':>8} {'restore ms':>10}")
    for name, bodies in (("views", views(now)), ("series", series(now))):
        worker = Worker(config, instance="bench-0")
        for body in bodies:
            worker.handle(Request("POST", "/v1/events", body=body, received=now), now)
        worker.poll(now + 15_000)
        writing, restoring = [], []
        for _ in range(RUNS):
            begin = time.perf_counter()
            blob = worker.snapshot()
            written = time.perf_counter()
            Worker.restore(config, blob, instance="bench-0")
            writing.append(written - begin)
            restoring.append(time.perf_counter() - written)
        print(
            f"{name:7} {COUNT:7} {len(blob) / COUNT:10.1f} "
            f"{min(writing) * 1000:8.0f} {min(restoring) * 1000:10.0f}"
        )


if __name__ == "__main__":
    main()

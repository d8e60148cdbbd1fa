"""Batches that fill a worker: with many views, with many series."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator

from tests.support.event_builders import batch as events_of
from tests.support.event_builders import event


def views(count: int, *, again: int = 0, batch: int = 500) -> Iterator[bytes]:
    """Batches of views that play, an event each, under ids as players make them.

    Args:
        count: How many views.
        again: How often the same views were told before.
        batch: Events in a batch.
    """
    now = int(time.time() * 1000)
    for first in range(0, count, batch):
        yield events_of(
            *(
                event(
                    "heartbeat",
                    at=now - n % 9_973,
                    view_id=str(uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)),
                    video={"id": f"film-{n % 300}"},
                    playback_time=n % 86_399,
                    data={
                        "playing_time": n % 77_773 + again,
                        "bitrate": 250_000 * (1 + n % 9),
                    },
                )
                for n in range(first, min(first + batch, count))
            )
        )


def series(count: int, *, codes: int = 20, batch: int = 500) -> Iterator[bytes]:
    """Batches that make so many series: many players, each with some codes of errors."""
    now = int(time.time() * 1000)
    for first in range(0, count, batch):
        yield events_of(
            *(
                event(
                    "error",
                    at=now,
                    view_id="unknown",
                    player_id=f"player-{n // codes}",
                    data={"error_family": "network", "error_code": n % codes},
                )
                for n in range(first, min(first + batch, count))
            )
        )


def strangers(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """The same batches, each from a player that nobody has heard of."""
    for number, body in enumerate(bodies):
        events = json.loads(body)["events"]
        player = f"stranger-{number}"
        yield json.dumps({"events": [one | {"player_id": player} for one in events]}).encode()

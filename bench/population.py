"""Batches that fill a worker with many views or many series."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator

from tests.support.event_builders import batch as events_of
from tests.support.event_builders import event


def views(count: int, *, again: int = 0, batch: int = 500) -> Iterator[bytes]:
    """Batches of playing views with random ids, one event per view.

    Args:
        count: Number of views.
        again: How often the same views were sent before.
        batch: Events per batch.
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
    """Batches that create `count` series: many players with several error codes each."""
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


def with_new_players(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """The same batches, each with a new player id."""
    for number, body in enumerate(bodies):
        events = json.loads(body)["events"]
        player = f"new-{number}"
        yield json.dumps({"events": [one | {"player_id": player} for one in events]}).encode()

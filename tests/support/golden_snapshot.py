"""The snapshot of a short evening of two viewers, which every later version must read.

    python -m tests.support.golden_snapshot

writes it again. Once a version is released, do so only for a new format, under a new name: the file
represents the workers in the field.
"""

from pathlib import Path
from typing import Final

from openqoe.core.engine.snapshot import VERSION
from tests.support.event_builders import NOW
from tests.support.rig import FLUSH, Rig, player_event

PATH: Final = Path(__file__).parents[1] / "fixtures" / f"snapshot-v{VERSION}.bin"

EARLIER_PATH: Final = PATH.with_name("snapshot-v1.bin")
"""The same evening, as the first version of the worker wrote it."""

AT: Final = NOW + 2 * FLUSH
"""Time of the snapshot, in ms since the epoch."""


def create_snapshot() -> bytes:
    """Return the snapshot of a worker that has received events of two viewers."""
    rig = Rig()
    rig.post(
        player_event(0, "viewstart", 0.0),
        player_event(0.5, "playing", 0.0, video_startup_time=480, bitrate=2_500_000),
        player_event(10, "heartbeat", 9.5, playing_time=9_500, bitrate=2_500_000, dropped_frames=3),
        player_event(10.5, "error", 10.0, error_family="network", error_code=404),
        player_event(0, "viewstart", 0.0, view="view-2", player="shaka", video="series"),
        player_event(1, "playing", 0.0, view="view-2", player="shaka", video="series"),
    )
    rig.flush()
    rig.post(
        player_event(20, "quartile", 19.5, playing_time=19_500, quartile=25),
        player_event(22, "stallstart", 21.5),
        player_event(
            21, "pause", 20.0, view="view-2", player="shaka", video="series", playing_time=20_000
        ),
        player_event(
            29, "ended", 20.0, view="view-2", player="shaka", video="series", playing_time=20_000
        ),
    )
    rig.flush()
    assert rig.now == AT
    return rig.worker.snapshot()


if __name__ == "__main__":
    PATH.write_bytes(create_snapshot())
    print(f"{PATH}: {PATH.stat().st_size} bytes")

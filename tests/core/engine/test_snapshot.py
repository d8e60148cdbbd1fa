"""The snapshot: a restored worker continues as if it had not been interrupted.

Two workers go through the same history in step. One is interrupted after some of its flushes and
restored from bytes; both must send the same bytes.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import HttpResult, NetworkFailure, RemoteWrite
from openqoe.core.engine import snapshot as snapshots
from openqoe.core.engine.snapshot import Snapshot, SnapshotError
from openqoe.core.http.messages import Request
from openqoe.core.primitives.incremental import run_to_end
from openqoe.core.worker import Worker
from tests.support import captures, golden_snapshot
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.rig import FLUSH, MINUTE, SECOND, Rig, player_event

SETTINGS = {
    # The disk restores accepted batches separately, so these tests run without them.
    "OPENQOE_DEDUP_WINDOW": "0",
    "OPENQOE_SERIES_IDLE_TIMEOUT": "1200",
    "OPENQOE_VIEW_TIMEOUT": "300",
}

# Few flushes keep tests with long silences fast.
CALM = {**SETTINGS, "OPENQOE_FLUSH_INTERVAL": "180"}


def restore_worker(rig: Rig, blob: bytes | None = None, **changes: Any) -> Worker:
    """Create the worker of a rig after a crash."""
    blob = rig.worker.snapshot() if blob is None else blob
    # The start time would reveal the interruption, so it stays the same.
    changes = {"instance": "rig-0", "seed": 1, "started_at": NOW, **changes}
    worker = Worker(rig.worker.config, **changes)
    worker.restore(blob)
    return worker


def sent_requests(rig: Rig) -> list[tuple[int, str, bytes]]:
    """Return time, URL and body of each request to a destination."""
    return [(at, effect.url, effect.body) for at, effect, _ in rig.sent]


# One worker is interrupted, the other is not

Step = Callable[[Rig], object]

PLAYERS = ("hlsjs", "dashjs", "shaka", "videojs", "html5")
KINDS = (
    *("viewstart", "playerready", "canplay", "playing", "heartbeat", "pause", "ended", "seek"),
    *("stallstart", "stallend", "stall_start", "stall_end", "qualitychange", "quality_change"),
    *("quartile", "error", "playerdetached", "custom"),
)

data = st.fixed_dictionaries(
    {},
    optional={
        "playing_time": st.integers(0, 90_000) | st.floats(0, 90_000),
        "bitrate": st.sampled_from([250_000, 1e6, 3.5e6]),
        "dropped_frames": st.integers(0, 50),
        "video_startup_time": st.floats(0, 9_000),
        "player_startup_time": st.floats(0, 9_000),
        "stall_duration": st.floats(0, 9_000),
        "seek_latency": st.integers(0, 3_000),
        "to": st.integers(0, 90_000),
        "quartile": st.sampled_from([25, 50, 75, 100]),
        "completion_rate": st.floats(0, 1),
        "resolution": st.sampled_from([{"width": 1280, "height": 720}, {"height": 1080}]),
        "error_code": st.sampled_from(["404", "500"]),
        "media_type": st.sampled_from(["audio", "video"]),
    },
)

happening = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(KINDS),
        "ago": st.integers(0, 30_000) | st.floats(0, 30_000),
        "position": st.none() | st.floats(0, 90),
        "player": st.sampled_from(PLAYERS),
        "view": st.sampled_from(["view-1", "view-2", "view-3", "unknown"]),
        "video": st.sampled_from(["film", "series", 7, 2**70, None]),
        "data": data,
    }
)


def post_happenings(rig: Rig, happenings: list[dict[str, Any]]) -> object:
    """Post events; ``ago`` is their age in ms."""
    return rig.post(
        *(
            event(
                one["event_type"],
                at=rig.now - one["ago"],
                view_id=one["view"],
                video={"id": one["video"]},
                player={"name": one["player"]},
                data=one["data"],
                playback_time=None if one["position"] is None else one["position"] * 1000,
            )
            for one in happenings
        )
    )


steps = st.lists(
    st.one_of(
        st.lists(happening, min_size=1, max_size=4).map(
            lambda happenings: lambda rig: post_happenings(rig, happenings)
        ),
        st.sampled_from([SECOND, 7 * SECOND, 40 * SECOND, 6 * MINUTE, 25 * MINUTE]).map(
            lambda ms: lambda rig: rig.pass_time(ms)
        ),
        st.just(lambda rig: rig.metrics_text()),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12)
@given(steps=st.lists(st.tuples(steps, st.booleans()), min_size=1, max_size=4))
def test_interrupted_worker_sends_the_same_bytes_after_any_history(
    steps: list[tuple[list[Step], bool]],
) -> None:
    whole, broken = Rig(CALM), Rig(CALM)
    for until_flush, interrupted in [*steps, ([], False)]:
        for step in until_flush:
            for rig in (whole, broken):
                step(rig)
        for rig in (whole, broken):
            rig.flush()
        assert sent_requests(broken) == sent_requests(whole)
        assert broken.metrics_text() == whole.metrics_text()
        whole.flush()
        broken.flush()
        assert broken.worker.snapshot() == whole.worker.snapshot()
        if interrupted:
            blob = broken.worker.snapshot()
            broken.worker = restore_worker(broken)
            assert broken.worker.snapshot() == blob
            assert broken.worker.next_poll() is not None


@pytest.mark.parametrize("name", ["sdk1-hlsjs", "sdk1-html5", "sdk2-dashjs", "sdk2-shaka"])
def test_interrupted_worker_sends_the_same_bytes_for_real_players(name: str) -> None:
    whole, broken = Rig(CALM), Rig(CALM)
    capture = captures.load(name)
    length = capture.requests[-1].t
    began = 0
    restarts = 0
    for request in capture.shifted(NOW + length):
        for rig in (whole, broken):
            rig.pass_time(max(0, request.t - began))
            headers = {key.lower(): value for key, value in request.headers.items()}
            rig.handle(Request(request.method, request.path, headers=headers, body=request.body))
        if request.t - began > SECOND:
            for rig in (whole, broken):
                rig.flush()
            broken.worker = restore_worker(broken)
            restarts += 1
        began = max(began, request.t)
    for rig in (whole, broken):
        rig.pass_time(40 * MINUTE)
    assert restarts > 3
    assert sent_requests(broken) == sent_requests(whole)
    assert broken.metrics_text() == whole.metrics_text()


# State that continues, item by item

VIEWING = (
    player_event(0, "viewstart", 0.0),
    player_event(0.5, "playing", 0.0, bitrate=1_000_000),
    player_event(10, "heartbeat", 9.5, playing_time=9_500, bitrate=1_000_000),
)


def test_restored_view_continues_its_running_totals() -> None:
    rig = Rig()
    rig.post(*VIEWING)
    rig.flush()
    rig.worker = restore_worker(rig)
    rig.post(
        player_event(0, "viewstart", 0.0), player_event(20, "heartbeat", 19.0, playing_time=19_000)
    )
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 19.0
    assert rig.total("openqoe_views_started_total") == 1
    assert rig.total("openqoe_concurrent_views_current") == 1


def test_ended_view_is_known_after_a_restore() -> None:
    rig = Rig(OPENQOE_VIEW_TIMEOUT="60")
    rig.post(*VIEWING)
    rig.pass_time(3 * MINUTE)
    rig.worker = restore_worker(rig)
    rig.post(player_event(190, "heartbeat", 30.0, playing_time=30_000))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 30.0


def test_series_that_ends_at_the_first_flush_after_a_restore_gets_its_stale_marker() -> None:
    rig = Rig(SETTINGS)
    rig.post(*VIEWING)
    rig.flush()
    assert "openqoe_bitrate_bps" in rig.qoe_series()
    blob = rig.worker.snapshot()
    rig.now += 20 * MINUTE  # no process runs meanwhile
    rig.worker = restore_worker(rig, blob)
    rig.flush()
    ended = ("openqoe_view_", "openqoe_completion", "openqoe_playing_time")  # the view ends now
    found = {name for name in rig.qoe_series() if not name.startswith(ended)}
    assert found == {"openqoe_concurrent_views_current"}


def test_series_that_ended_before_a_restore_gets_no_second_stale_marker() -> None:
    rig = Rig(SETTINGS)
    rig.post(*VIEWING)
    rig.pass_time(20 * MINUTE + FLUSH)  # the counters get their stale markers
    rig.worker = restore_worker(rig)
    rig.post(event("viewstart", at=rig.now, view_id="view-9"))
    rig.flush(2)  # the receiver rejects samples that are out of order
    assert rig.receiver.violations == []
    assert rig.total("openqoe_views_loaded_total") == 1


def test_limits_and_counters_continue_after_a_restore() -> None:
    rig = Rig(CARDINALITY_LIMITS='{"env":{"action":"allow","max_cardinality":2}}')
    for n, env in enumerate(["a", "b", "c", "x" * 300]):
        rig.post(event("viewstart", env=env, view_id=f"v{n}"))
    rig.flush()
    before = decode_snapshot(rig)
    notices_before = len(rig.notices)
    rig.worker = restore_worker(rig)
    for env in ("c", "d", "a", "x" * 300):
        rig.post(event("viewstart", env=env, view_id=f"v-{env[:9]}"))
    rig.flush()
    after = decode_snapshot(rig)
    assert list(after.dimensions["env"].admitted) == ["a", "b"]
    assert after.dimensions["env"].overflowed >= before.dimensions["env"].overflowed + 2
    assert after.labeller.shortened >= before.labeller.shortened
    assert rig.total("openqoe_worker_events_accepted_total") == 8
    assert len(rig.notices) == notices_before == 1  # "dimension is full" is noticed once


def decode_snapshot(rig: Rig) -> Snapshot:
    return snapshots.decode(rig.worker.snapshot())


def test_queue_state_survives_a_restore() -> None:
    rig = Rig()
    rig.flush()
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    rig.flush(2)
    before = decode_snapshot(rig).queues["prometheus"]
    assert (before.state, before.failures > 1) == ("failing", True)
    rig.worker = restore_worker(rig)
    assert decode_snapshot(rig).queues["prometheus"] == before
    rig.start_outage(RemoteWrite, result=HttpResult(503))
    rig.flush()
    after = decode_snapshot(rig).queues["prometheus"]
    assert after.failures == before.failures + 1
    assert after.answers["retried"] == before.answers["retried"] + 1


def test_series_continue_their_totals_under_another_instance_name() -> None:
    rig = Rig()
    rig.post(*VIEWING)
    rig.flush()
    rig.worker = restore_worker(rig, instance="rig-1")
    rig.post(player_event(20, "heartbeat", 19.0, playing_time=19_000))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds", instance="rig-1") == 19.0
    assert rig.total("openqoe_playing_time_seconds", instance="rig-0") == 9.5


def test_boolean_and_integer_gauges_survive_a_restore() -> None:
    """Reading ``/metrics`` sets health gauges to booleans and integers. A flush, which turns them
    into means, may be held."""
    rig = Rig()
    text = rig.metrics_text()
    assert "openqoe_worker_storage_ok 1" in text
    blob = rig.worker.snapshot()
    assert restore_worker(rig, blob).snapshot() == blob


@pytest.mark.parametrize("video", [2**63, 2**64, -(2**63) - 1, 10**100])
def test_video_id_beyond_64_bits_survives_a_restore(video: int) -> None:
    rig = Rig()
    rig.post(event("viewstart", video={"id": video}))
    rig.flush()
    rig.worker = restore_worker(rig)
    rig.post(event("viewstart", video={"id": video}, at=NOW + 1))
    rig.flush()
    assert rig.total("openqoe_views_loaded_total") == 1


# Another version

STARTS = ("openqoe_views_started_total", "COUNTER")
STARTUP = ("openqoe_reported_startup_seconds", "HISTOGRAM")


def change_metric(blob: bytes, which: tuple[str, str], **changes: Any) -> bytes:
    """Return a snapshot in which the declaration of a metric is changed."""
    snapshot = snapshots.decode(blob)
    metrics = [
        msgspec.structs.replace(metric, **changes) if metric.name == which else metric
        for metric in snapshot.qoe.metrics
    ]
    assert metrics != snapshot.qoe.metrics
    qoe = msgspec.structs.replace(snapshot.qoe, metrics=metrics)
    return b"".join(run_to_end(snapshots.encode(msgspec.structs.replace(snapshot, qoe=qoe))))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (STARTS, {"name": ("openqoe_views_begun_total", "COUNTER")}),
        (STARTS, {"name": ("openqoe_views_started_total", "GAUGE")}),
        (STARTUP, {"buckets": (0.5, 1.0)}),
    ],
)
def test_series_whose_metric_has_changed_is_not_restored(
    name: tuple[str, str], changes: dict[str, Any]
) -> None:
    rig = Rig()
    rig.post(
        player_event(0, "viewstart", 0.0),
        player_event(1, "playing", 0.0, player="shaka", video_startup_time=900),
    )
    rig.flush()
    before = decode_snapshot(rig)
    worker = restore_worker(rig, change_metric(rig.worker.snapshot(), name, **changes))
    after = snapshots.decode(worker.snapshot())
    names = {metric.name for metric in after.qoe.metrics}
    assert names == {metric.name for metric in before.qoe.metrics} - {name}
    rig.worker = worker
    rig.flush()


@pytest.mark.parametrize(
    ("path", "startup"),
    [
        (golden_snapshot.PATH, 'openqoe_reported_startup_seconds{}{{field="playing"}}'),
        (golden_snapshot.EARLIER_PATH, 'openqoe_video_startup_seconds{}{{source="playing"}}'),
    ],
    ids=["current", "earlier"],
)
def test_golden_snapshot_can_be_restored(path: Path, startup: str) -> None:
    """Of the earlier format, which had no playback model, counters and running totals go on."""
    rig = Rig()
    rig.now = golden_snapshot.AT
    rig.worker = restore_worker(rig, path.read_bytes())
    rig.post(player_event(30, "heartbeat", 25.0, playing_time=25_000, dropped_frames=5))
    rig.flush()
    totals = rig.qoe_series()
    expected = {
        **GOLDEN,
        startup.format("_count"): 1.0,
        startup.format("_sum"): 0.48,
    }
    assert {name: totals.get(name) for name in expected} == expected


GOLDEN = {
    "openqoe_bitrate_bps_count": 2.0,
    "openqoe_bitrate_bps_sum": 5_000_000.0,
    "openqoe_concurrent_views_current": 1.0,
    "openqoe_dropped_frames_total": 5.0,
    'openqoe_errors_total{error_code="404",error_family="network"}': 1.0,
    'openqoe_events_total{event_type="ended"}': 1.0,
    'openqoe_events_total{event_type="error"}': 1.0,
    'openqoe_events_total{event_type="heartbeat"}': 2.0,
    'openqoe_events_total{event_type="pause"}': 1.0,
    'openqoe_events_total{event_type="playing"}': 2.0,
    'openqoe_events_total{event_type="quartile"}': 1.0,
    'openqoe_events_total{event_type="stallstart"}': 1.0,
    'openqoe_events_total{event_type="viewstart"}': 2.0,
    "openqoe_pause_events_total": 1.0,
    "openqoe_playing_time_seconds": 45.0,
    'openqoe_quartile_reached_total{quartile="25"}': 1.0,
    'openqoe_rebuffer_events_total{cause="rebuffer"}': 1.0,
    "openqoe_views_completed_total": 1.0,
    "openqoe_views_started_total": 2.0,
}


# Invalid snapshots


@pytest.fixture(scope="module")
def blob() -> bytes:
    rig = Rig()
    rig.post(*VIEWING)
    rig.flush()
    return rig.worker.snapshot()


def reject_snapshot(blob: bytes, worker: Worker | None = None) -> str:
    """Assert that a snapshot is rejected; returns the error text.

    Args:
        blob: The snapshot.
        worker: A worker that nothing was restored into; by default a new one.
    """
    with pytest.raises(SnapshotError) as caught:
        (worker or Worker(Config(), instance="i")).restore(blob)
    return str(caught.value)


def test_snapshot_with_any_byte_changed_is_rejected(blob: bytes) -> None:
    worker = Worker(Config(), instance="i")
    for place in range(len(blob)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(blob)
            damaged[place] ^= change
            reject_snapshot(bytes(damaged), worker)


def test_snapshot_truncated_at_any_length_is_rejected(blob: bytes) -> None:
    worker = Worker(Config(), instance="i")
    for length in range(len(blob)):
        reject_snapshot(blob[:length], worker)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda blob: b"", "not a snapshot"),
        (lambda blob: b"SQLite format 3\0" + blob, "not a snapshot"),
        (lambda blob: blob[:-1], "damaged"),
        (lambda blob: blob + b"\0", "damaged"),
        (lambda blob: blob[:4] + b"\0\3" + blob[6:], "format 3"),
        (lambda blob: add_frame(b"no compression at all"), "cannot be read"),
        (lambda blob: add_frame(zlib.compress(b"\x90")), "cannot be read"),
    ],
)
def test_error_of_an_invalid_snapshot_states_the_cause(
    blob: bytes, damage: Callable[[bytes], bytes], message: str
) -> None:
    assert message in reject_snapshot(damage(blob))


def add_frame(body: bytes) -> bytes:
    """Return a valid frame around other content."""
    head = snapshots.MARK + snapshots.VERSION.to_bytes(2, "big")
    return head + zlib.crc32(body).to_bytes(4, "big") + body


def test_restored_worker_accepts_requests(blob: bytes) -> None:
    worker = Worker(Config(), instance="i")
    worker.restore(blob)
    assert handle(worker, post(event()), NOW + FLUSH).response.status == 202

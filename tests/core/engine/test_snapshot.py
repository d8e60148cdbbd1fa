"""The snapshot: a worker that was interrupted goes on as if it had not been.

Two workers live through the same history in step. One is taken down after some of its flushes and
restored from bytes; what leaves both must be equal to the byte.
"""

import zlib
from collections.abc import Callable
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
    # Batches accepted before come back from the disk by themselves, so here none is known.
    "OPENQOE_DEDUP_WINDOW": "0",
    "OPENQOE_SERIES_IDLE_TIMEOUT": "1200",
    "OPENQOE_VIEW_TIMEOUT": "300",
}

# With few flushes, or long silences would take long here as well.
CALM = {**SETTINGS, "OPENQOE_FLUSH_INTERVAL": "60"}


def restored(rig: Rig, blob: bytes | None = None, **changes: Any) -> Worker:
    """The worker of a rig after a crash."""
    blob = rig.worker.snapshot() if blob is None else blob
    # The same start as before: it is there to show an interruption
    changes = {"instance": "rig-0", "seed": 1, "started_at": NOW, **changes}
    worker = Worker(rig.worker.config, **changes)
    worker.restore(blob)
    return worker


def left(rig: Rig) -> list[tuple[int, str, bytes]]:
    """All that has left for the destinations: when, to where, the bytes."""
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


def told_now(rig: Rig, happenings: list[dict[str, Any]]) -> object:
    """Post events whose times count back from now."""
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
            lambda happenings: lambda rig: told_now(rig, happenings)
        ),
        st.sampled_from([SECOND, 7 * SECOND, 40 * SECOND, 6 * MINUTE, 25 * MINUTE]).map(
            lambda ms: lambda rig: rig.pass_time(ms)
        ),
        st.just(lambda rig: rig.metrics_text()),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(steps, st.booleans()), min_size=1, max_size=4))
def test_nothing_tells_that_a_worker_was_interrupted(
    steps: list[tuple[list[Step], bool]],
) -> None:
    whole, broken = Rig(CALM), Rig(CALM)
    for until_flush, interrupted in [*steps, ([], False)]:
        for step in until_flush:
            for rig in (whole, broken):
                step(rig)
        for rig in (whole, broken):
            rig.flush()
        assert left(broken) == left(whole)
        assert broken.metrics_text() == whole.metrics_text()
        whole.flush()
        broken.flush()
        assert broken.worker.snapshot() == whole.worker.snapshot()
        if interrupted:
            blob = broken.worker.snapshot()
            broken.worker = restored(broken)
            assert broken.worker.snapshot() == blob
            assert broken.worker.next_poll() is not None


@pytest.mark.parametrize("name", ["sdk1-hlsjs", "sdk1-html5", "sdk2-dashjs", "sdk2-shaka"])
def test_nor_do_the_recordings_of_real_players_tell_it(name: str) -> None:
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
            broken.worker = restored(broken)
            restarts += 1
        began = max(began, request.t)
    for rig in (whole, broken):
        rig.pass_time(40 * MINUTE)
    assert restarts > 3
    assert left(broken) == left(whole)
    assert broken.metrics_text() == whole.metrics_text()


# What goes on, one by one

VIEWING = (
    player_event(0, "viewstart", 0.0),
    player_event(0.5, "playing", 0.0, bitrate=1_000_000),
    player_event(10, "heartbeat", 9.5, playing_time=9_500, bitrate=1_000_000),
)


def test_a_view_goes_on_with_its_running_totals() -> None:
    rig = Rig()
    rig.post(*VIEWING)
    rig.flush()
    rig.worker = restored(rig)
    rig.post(
        player_event(0, "viewstart", 0.0), player_event(20, "heartbeat", 19.0, playing_time=19_000)
    )
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 19.0
    assert rig.total("openqoe_views_started_total") == 1
    assert rig.total("openqoe_concurrent_views_current") == 1


def test_a_view_that_has_ended_is_still_known() -> None:
    rig = Rig(OPENQOE_VIEW_TIMEOUT="60")
    rig.post(*VIEWING)
    rig.pass_time(3 * MINUTE)
    rig.worker = restored(rig)
    rig.post(player_event(190, "heartbeat", 30.0, playing_time=30_000))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 30.0


def test_a_series_that_ends_at_the_first_flush_gets_its_stale_marker() -> None:
    rig = Rig(SETTINGS)
    rig.post(*VIEWING)
    rig.flush()
    assert "openqoe_bitrate_bps" in rig.qoe_series()
    blob = rig.worker.snapshot()
    rig.now += 20 * MINUTE  # nothing runs meanwhile
    rig.worker = restored(rig, blob)
    rig.flush()
    assert rig.qoe_series() == {"openqoe_concurrent_views_current": 0.0}


def test_a_series_that_ended_before_ends_only_once() -> None:
    rig = Rig(SETTINGS)
    rig.post(*VIEWING)
    rig.pass_time(20 * MINUTE + FLUSH)  # the counters get their stale markers
    rig.worker = restored(rig)
    rig.post(event("viewstart", at=rig.now, view_id="view-9"))
    rig.flush(2)  # the receiver refuses what is not in order
    assert rig.receiver.violations == []
    assert rig.total("openqoe_views_started_total") == 1


def test_limits_hold_and_counters_never_go_back() -> None:
    rig = Rig(CARDINALITY_LIMITS='{"env":{"action":"allow","max_cardinality":2}}')
    for n, env in enumerate(["a", "b", "c", "x" * 300]):
        rig.post(event("viewstart", env=env, view_id=f"v{n}"))
    rig.flush()
    before = saved(rig)
    told_before = len(rig.notices)
    rig.worker = restored(rig)
    for env in ("c", "d", "a", "x" * 300):
        rig.post(event("viewstart", env=env, view_id=f"v-{env[:9]}"))
    rig.flush()
    after = saved(rig)
    assert list(after.dimensions["env"].admitted) == ["a", "b"]
    assert after.dimensions["env"].overflowed >= before.dimensions["env"].overflowed + 2
    assert after.labeller.shortened >= before.labeller.shortened
    assert rig.total("openqoe_worker_events_accepted_total") == 8
    assert len(rig.notices) == told_before == 1  # "dimension is full" is told once


def saved(rig: Rig) -> Snapshot:
    return snapshots.decode(rig.worker.snapshot())


def test_how_the_delivery_stood_is_not_forgotten() -> None:
    rig = Rig()
    rig.flush()
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    rig.flush(2)
    before = saved(rig).queues["prometheus"]
    assert (before.state, before.failures > 1) == ("failing", True)
    rig.worker = restored(rig)
    assert saved(rig).queues["prometheus"] == before
    rig.start_outage(RemoteWrite, result=HttpResult(503))
    rig.flush()
    after = saved(rig).queues["prometheus"]
    assert after.failures == before.failures + 1
    assert after.answers["retried"] == before.answers["retried"] + 1


def test_under_another_name_series_go_on_with_their_totals() -> None:
    rig = Rig()
    rig.post(*VIEWING)
    rig.flush()
    rig.worker = restored(rig, instance="rig-1")
    rig.post(player_event(20, "heartbeat", 19.0, playing_time=19_000))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds", instance="rig-1") == 19.0
    assert rig.total("openqoe_playing_time_seconds", instance="rig-0") == 9.5


def test_numbers_are_kept_whatever_their_type() -> None:
    """Gauges of the worker's health are set to booleans and whole numbers when they are shown; the
    flush that makes them means may have been put off."""
    rig = Rig()
    shown = rig.metrics_text()
    assert "openqoe_worker_storage_ok 1" in shown
    blob = rig.worker.snapshot()
    assert restored(rig, blob).snapshot() == blob


@pytest.mark.parametrize("video", [2**63, 2**64, -(2**63) - 1, 10**100])
def test_a_video_whose_number_no_format_holds_does_no_harm(video: int) -> None:
    rig = Rig()
    rig.post(event("viewstart", video={"id": video}))
    rig.flush()
    rig.worker = restored(rig)
    rig.post(event("viewstart", video={"id": video}, at=NOW + 1))
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 1


# Another version

STARTS = ("openqoe_views_started_total", "COUNTER")
STARTUP = ("openqoe_video_startup_seconds", "HISTOGRAM")


def changed(blob: bytes, which: tuple[str, str], **changes: Any) -> bytes:
    """A snapshot in which a metric is declared in another way."""
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
def test_a_series_whose_metric_has_changed_is_left_out(
    name: tuple[str, str], changes: dict[str, Any]
) -> None:
    rig = Rig()
    rig.post(
        player_event(0, "viewstart", 0.0),
        player_event(1, "playing", 0.0, player="shaka", video_startup_time=900),
    )
    rig.flush()
    before = saved(rig)
    worker = restored(rig, changed(rig.worker.snapshot(), name, **changes))
    after = snapshots.decode(worker.snapshot())
    names = {metric.name for metric in after.qoe.metrics}
    assert names == {metric.name for metric in before.qoe.metrics} - {name}
    rig.worker = worker
    rig.flush()


def test_the_first_snapshot_of_all_can_still_be_read() -> None:
    rig = Rig()
    rig.now = golden_snapshot.AT
    rig.worker = restored(rig, golden_snapshot.PATH.read_bytes())
    rig.post(player_event(30, "heartbeat", 25.0, playing_time=25_000, dropped_frames=5))
    rig.flush()
    totals = {
        name: value
        for name, value in rig.qoe_series().items()
        if name.partition("{")[0].endswith(("_total", "_seconds", "_count", "_sum", "_current"))
    }
    assert totals == GOLDEN


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
    'openqoe_video_startup_seconds_count{source="playing"}': 1.0,
    'openqoe_video_startup_seconds_sum{source="playing"}': 0.48,
    "openqoe_views_completed_total": 1.0,
    "openqoe_views_started_total": 2.0,
}


# Bytes that are no snapshot


@pytest.fixture(scope="module")
def blob() -> bytes:
    rig = Rig()
    rig.post(*VIEWING)
    rig.flush()
    return rig.worker.snapshot()


def refused(blob: bytes) -> str:
    with pytest.raises(SnapshotError) as caught:
        Worker(Config(), instance="i").restore(blob)
    return str(caught.value)


def test_a_snapshot_with_any_byte_changed_is_refused(blob: bytes) -> None:
    for place in range(len(blob)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(blob)
            damaged[place] ^= change
            refused(bytes(damaged))


def test_a_snapshot_cut_off_anywhere_is_refused(blob: bytes) -> None:
    for length in range(len(blob)):
        refused(blob[:length])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda blob: b"", "not a snapshot"),
        (lambda blob: b"SQLite format 3\0" + blob, "not a snapshot"),
        (lambda blob: blob[:-1], "damaged"),
        (lambda blob: blob + b"\0", "damaged"),
        (lambda blob: blob[:4] + b"\0\2" + blob[6:], "format 2"),
        (lambda blob: framed(b"no compression at all"), "cannot be read"),
        (lambda blob: framed(zlib.compress(b"\x90")), "cannot be read"),
    ],
)
def test_the_error_says_what_is_wrong(
    blob: bytes, damage: Callable[[bytes], bytes], message: str
) -> None:
    assert message in refused(damage(blob))


def framed(body: bytes) -> bytes:
    """A sound frame around something else."""
    head = snapshots.MARK + snapshots.VERSION.to_bytes(2, "big")
    return head + zlib.crc32(body).to_bytes(4, "big") + body


def test_a_request_after_the_restoration_is_answered(blob: bytes) -> None:
    worker = Worker(Config(), instance="i")
    worker.restore(blob)
    assert handle(worker, post(event()), NOW + FLUSH).response.status == 202

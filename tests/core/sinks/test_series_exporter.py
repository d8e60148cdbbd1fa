"""Exported samples: the rules of a remote-write sender, over any history and any clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.delivery.payload import Payload
from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.metrics.registry import Registry
from openqoe.core.sinks.metrics_payloads import MetricsPayloadWriter
from openqoe.core.sinks.series_exporter import MAX_ZERO_AGE, SeriesExporter
from tests.support.event_builders import NOW
from tests.support.rig import FLUSH, MINUTE, Rig, player_event
from tests.support.wire_codec import STALE, STALE_BITS, Sample, decode_write_request

COUNTER = Metric("seeks_total", MetricType.COUNTER, "Seeks.")
GAUGE = Metric("bitrate_bps", MetricType.GAUGE, "Bit rate.")
HISTOGRAM = Metric("stall_seconds", MetricType.HISTOGRAM, "Stalls.", buckets=(0.5, 2))
IDLE = 10 * MINUTE
GAUGE_LIFETIME = 5 * MINUTE

SeriesKey = tuple[tuple[str, str], ...]


class Sender:
    """A registry and its exporter; each flush is decoded from its encoded bytes."""

    def __init__(self, now: int = NOW, max_samples: int = 5_000) -> None:
        self.registry = Registry(10_000)
        self.exporter = SeriesExporter(self.registry, "host-0", IDLE)
        self.exporter.mark_start(now)
        self.max_samples = max_samples
        self.history: dict[SeriesKey, list[Sample]] = {}

    def observe(self, metric: Metric, org: str, value: float) -> None:
        self.registry.find_or_create(metric, (("org_id", org),)).observe(value)

    def payloads(self, now: int) -> list[Payload]:
        """The requests of a flush."""
        writer = MetricsPayloadWriter((), now, self.max_samples, separate_edges=False)
        for series in self.exporter.export_series(now):
            if series is not None:
                writer.add_series(series)
        return writer.finish()

    def flush(self, now: int) -> dict[SeriesKey, list[Sample]]:
        """The samples of this flush by series."""
        flushed: dict[SeriesKey, list[Sample]] = {}
        for payload in self.payloads(now):
            for series in decode_write_request(payload.body).series:
                flushed.setdefault(series.labels, []).extend(series.samples)
        for labels, samples in flushed.items():
            self.history.setdefault(labels, []).extend(samples)
        return flushed


def of(
    flushed: dict[SeriesKey, list[Sample]], name: str, **labels: str
) -> list[tuple[int, object]]:
    """Times (since NOW) and values of the only series with this name."""
    wanted = {"__name__": name, **labels}.items()
    (found,) = (samples for key, samples in flushed.items() if wanted <= dict(key).items())
    return [(sample.timestamp_ms - NOW, sample.value) for sample in found]


# One rule at a time


@pytest.mark.parametrize("metric", [COUNTER, HISTOGRAM], ids=["counter", "histogram"])
def test_new_cumulative_series_starts_at_zero_at_previous_flush(metric: Metric) -> None:
    sender = Sender()
    assert sender.flush(NOW + 15_000) == {}
    sender.observe(metric, "acme", 0.25)
    flushed = sender.flush(NOW + 30_000)
    assert flushed
    for samples in flushed.values():
        assert samples[0].timestamp_ms == NOW + 15_000
        assert samples[0].value == 0.0
        assert samples[1].timestamp_ms == NOW + 30_000
        assert len(samples) == 2


def test_first_flush_starts_series_at_zero_at_worker_start() -> None:
    sender = Sender()
    sender.observe(COUNTER, "acme", 3)
    assert of(sender.flush(NOW + 15_000), "seeks_total") == [(-1, 0.0), (15_000, 3.0)]


def test_zero_after_long_silence_is_recent_enough() -> None:
    """Receivers reject samples an hour older than their newest."""
    sender = Sender()
    sender.flush(NOW)
    sender.observe(COUNTER, "acme", 3)
    assert of(sender.flush(NOW + 7_200_000), "seeks_total") == [
        (7_200_000 - MAX_ZERO_AGE, 0.0),
        (7_200_000, 3.0),
    ]


def test_new_gauge_has_no_zero() -> None:
    sender = Sender()
    sender.observe(GAUGE, "acme", 3)
    assert of(sender.flush(NOW + 15_000), "bitrate_bps") == [(15_000, 3.0)]


def test_unchanged_series_is_sent_at_every_flush() -> None:
    sender = Sender()
    sender.observe(COUNTER, "acme", 1)
    sender.observe(GAUGE, "acme", 5)
    sender.flush(NOW + 15_000)
    flushed = sender.flush(NOW + 30_000)
    assert of(flushed, "seeks_total") == [(30_000, 1.0)]
    assert of(flushed, "bitrate_bps") == [(30_000, 5.0)]


def test_gauge_ends_five_minutes_after_last_observation() -> None:
    sender = Sender()
    sender.observe(GAUGE, "acme", 5)
    sender.flush(NOW)
    assert of(sender.flush(NOW + GAUGE_LIFETIME - 1), "bitrate_bps")[0][1] == 5.0
    flushed = sender.flush(NOW + GAUGE_LIFETIME)
    assert of(flushed, "bitrate_bps") == [(GAUGE_LIFETIME, STALE)]
    assert [sample.bits for samples in flushed.values() for sample in samples] == [STALE_BITS]
    assert STALE_BITS == 0x7FF0000000000002
    assert sender.flush(NOW + GAUGE_LIFETIME + 15_000) == {}


def test_equal_observation_keeps_gauge_alive() -> None:
    sender = Sender()
    for minute in range(10):
        sender.observe(GAUGE, "acme", 5)
        assert of(sender.flush(NOW + minute * MINUTE), "bitrate_bps")[-1][1] == 5.0


def test_idle_cumulative_series_ends() -> None:
    sender = Sender()
    sender.observe(HISTOGRAM, "acme", 1)
    sender.flush(NOW)
    assert STALE not in [
        value for _, value in of(sender.flush(NOW + IDLE - 1), "stall_seconds_sum")
    ]
    flushed = sender.flush(NOW + IDLE)
    assert len(flushed) == 5
    assert {sample.value for samples in flushed.values() for sample in samples} == {STALE}
    assert sender.registry.size == 0


def test_revived_series_starts_at_zero_after_stale_marker() -> None:
    sender = Sender()
    sender.observe(COUNTER, "acme", 7)
    sender.flush(NOW)
    sender.flush(NOW + IDLE)
    sender.observe(COUNTER, "acme", 2)
    assert of(sender.flush(NOW + IDLE + 15_000), "seeks_total") == [
        (IDLE + 1, 0.0),
        (IDLE + 15_000, 2.0),
    ]


@pytest.mark.parametrize("now", [NOW + 15_000, NOW + 14_999, NOW - 86_400_000])
def test_clock_that_stops_or_steps_back_keeps_timestamps_ascending(now: int) -> None:
    sender = Sender()
    sender.observe(COUNTER, "acme", 1)
    sender.flush(NOW + 15_000)
    sender.observe(COUNTER, "acme", 1)
    sender.observe(COUNTER, "other", 1)
    flushed = sender.flush(now)
    assert of(flushed, "seeks_total", org_id="acme") == [(15_001, 2.0)]
    assert of(flushed, "seeks_total", org_id="other") == [(15_000, 0.0), (15_001, 1.0)]


def test_requests_are_bounded_without_dividing_series() -> None:
    sender = Sender(max_samples=3)
    for number in range(4):
        sender.observe(COUNTER, str(number), 1)
    sizes = []
    for payload in sender.payloads(NOW + 1):
        series = decode_write_request(payload.body).series
        assert payload.items == sum(len(one.samples) for one in series)
        assert all(len(one.samples) == 2 for one in series)
        assert payload.oldest == NOW - 1
        sizes.append(payload.items)
    assert sizes == [2, 2, 2, 2]


# All rules, any history


@dataclass
class Expected:
    """The expected state of one series, computed independently."""

    value: float = 0.0
    changed: bool = False
    changed_at: int = 0
    begun: bool = False


STEPS = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from([COUNTER, GAUGE, HISTOGRAM]),
            st.sampled_from("ab"),
            st.integers(0, 5),
        ),
        max_size=3,
    ),
    st.sampled_from(
        [0, 1, 1, 15_000, 15_000, 60_000, GAUGE_LIFETIME, IDLE, 7_200_000, -1, -15_000, -3_600_000]
    ),
)


@given(st.lists(STEPS, min_size=1, max_size=14))
@settings(max_examples=80)
def test_any_history_and_clock_obeys_sender_rules(
    steps: list[tuple[list[tuple[Metric, str, int]], int]],
) -> None:
    sender = Sender()
    model: dict[tuple[Metric, str], Expected] = {}
    ended_before: set[tuple[Metric, str]] = set()
    clock, previous = NOW, NOW - 1
    for observations, passed in steps:
        for metric, org, value in observations:
            sender.observe(metric, org, value)
            expected = model.setdefault((metric, org), Expected())
            expected.changed |= metric is not COUNTER or value > 0 or not expected.begun
            expected.value += value
        clock += passed
        flushed = sender.flush(clock)
        at = max(clock, previous + 1)
        ended_now = set()
        for (metric, org), expected in list(model.items()):
            samples = sum_samples(flushed, metric, org)
            if expected.changed:
                expected.changed_at = at
            lifetime = GAUGE_LIFETIME if metric is GAUGE else IDLE
            if at - expected.changed_at >= lifetime:
                # rule: it ends with a stale marker, and is removed
                assert [(s.timestamp_ms, s.bits) for s in samples] == [(at, STALE_BITS)]
                ended_now.add((metric, org))
                del model[metric, org]
                continue
            # rule: a live series is sent, with its total
            assert samples[-1].timestamp_ms == at
            if metric is not GAUGE:
                assert samples[-1].value == expected.value
            # rule: a new cumulative series starts at zero, at the previous flush
            zeros = [(s.timestamp_ms, s.value) for s in samples[:-1]]
            zero_at = max(previous, at - MAX_ZERO_AGE)
            if (metric, org) in ended_before:
                zero_at = max(previous + 1, zero_at)
            if not expected.begun and metric is not GAUGE and zero_at < at:
                assert zeros == [(zero_at, 0.0)]
            else:
                assert zeros == []
            expected.begun, expected.changed = True, False
        assert len(flushed) == sum(
            5 if metric is HISTOGRAM else 1 for metric, _ in {*model, *ended_now}
        )
        ended_before, previous = ended_now, at
    for labels, samples in sender.history.items():
        times = [sample.timestamp_ms for sample in samples]
        assert times == sorted(set(times)), labels
        if dict(labels)["__name__"] != "bitrate_bps":
            assert never_falls(samples), labels


def sum_samples(flushed: dict[SeriesKey, list[Sample]], metric: Metric, org: str) -> list[Sample]:
    """The samples of a series in a flush; those of the sum for a histogram."""
    name = f"{metric.name}_sum" if metric is HISTOGRAM else metric.name
    wanted = {"__name__": name, "org_id": org}.items()
    return next(samples for key, samples in flushed.items() if wanted <= dict(key).items())


def never_falls(samples: Iterable[Sample]) -> bool:
    """Whether the values only grow, except for restarts after a stale marker."""
    last = 0.0
    for sample in samples:
        if not isinstance(sample.value, float):
            last = 0.0
        elif sample.value < last:
            return False
        else:
            last = sample.value
    return True


# Through the worker


def test_close_sends_no_stale_markers() -> None:
    """Each continues after a restart, or when another process recovers the slot."""
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0, bitrate=1e6))
    rig.flush()
    rig.post(player_event(1, "seek", 9.0))
    rig.pass_time(1_000)
    rig.close()
    assert rig.total("openqoe_seeks_total") == 1
    for samples in rig.receiver.samples.values():
        assert STALE not in [value for _, value in samples]


def test_second_flush_at_same_time_sends_no_second_value() -> None:
    """Rig fails every test that breaks a rule of the receiver; this one provokes it."""
    rig = Rig()
    rig.post(player_event(0, "seek", 9.0))
    rig.flush()
    rig.post(player_event(1, "seek", 8.0))
    rig.close()
    (samples,) = rig.receiver.select("openqoe_seeks_total").values()
    assert samples == [
        (NOW - 1, 0.0),
        (NOW + FLUSH, 1.0),
        (NOW + FLUSH + 1, 2.0),
    ]

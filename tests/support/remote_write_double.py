"""A strict remote-write 1.0 receiver: it checks every rule for senders and stores every sample.

A broken rule is a `Violation` and, as in Mimir, answered with 400 (415 for a wrong type) while the
valid series of the request are stored. Most tests end with `assert receiver.violations == []`. A
resent sample with the same value, as after a lost response, is no violation; `resent` counts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.support.http_double import HttpDouble, ReceivedRequest, Reply, system_now_ms
from tests.support.wire_codec import (
    LABEL_NAME,
    STALE,
    STALE_BITS,
    MetricMetadata,
    Sample,
    SampleValue,
    TimeSeries,
    WireError,
    decode_write_request,
)

Labels = tuple[tuple[str, str], ...]

PATHS: Final = ("/api/v1/write", "/api/v1/push", "/api/prom/push")
"""The remote-write endpoints of Prometheus, Mimir and Grafana Cloud."""

METRIC_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
OUT_OF_BOUNDS_MS: Final = 3_600_000
"""Maximum age in ms of a sample behind the tenant's newest (half a block range)."""
GRACE_PERIOD_MS: Final = 600_000

_REQUIRED_HEADERS: Final = {
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}
_CONTENT_TYPES: Final = (
    "application/x-protobuf",
    "application/x-protobuf;proto=prometheus.writerequest",
)


class Violation(NamedTuple):
    """A broken rule: `request` is the index in `requests`; `labels` is empty unless one series
    broke it.
    """

    rule: str
    message: str
    request: int
    labels: Labels = ()


class _StoredSeries(NamedTuple):
    """One series: the faults of its labels, its samples, and their bits by time."""

    faults: tuple[tuple[str, str], ...]
    samples: list[tuple[int, SampleValue]]
    bits: dict[int, int]


class RemoteWriteDouble(HttpDouble):
    """Stores what it receives in `samples` and `metadata`, faults in `violations` and `resent`."""

    def __init__(
        self,
        *,
        now_ms: Callable[[], int] = system_now_ms,
        basic_auth: tuple[str, str] | None = None,
        max_body_bytes: int | None = None,
    ) -> None:
        super().__init__(now_ms=now_ms, basic_auth=basic_auth, max_body_bytes=max_body_bytes)
        self.samples: dict[Labels, list[tuple[int, SampleValue]]] = {}
        self.metadata: dict[str, MetricMetadata] = {}
        self.violations: list[Violation] = []
        self.resent = 0
        self._series: dict[Labels, _StoredSeries] = {}
        # The decoder gives equal labels the same tuple, whose hash would be computed each time.
        self._series_by_identity: dict[int, tuple[Labels, _StoredSeries]] = {}
        self._newest_ms = 0

    @property
    def write_url(self) -> str:
        """The address of the write endpoint, with Prometheus' path."""
        return f"{self.url}/api/v1/write"

    # --- stored samples ---------------------------------------------------------------------------

    def select(self, name: str, **labels: str) -> dict[Labels, list[tuple[int, SampleValue]]]:
        """The samples of every series with this name and at least these labels."""
        wanted = {"__name__": name, **labels}.items()
        with self._lock:
            return {
                series: list(samples)
                for series, samples in self.samples.items()
                if wanted <= dict(series).items()
            }

    def last(self, name: str, **labels: str) -> SampleValue | None:
        """The newest value of the only series with this name and labels; None if there is none."""
        found = self.select(name, **labels)
        if len(found) > 1:
            raise AssertionError(f"{len(found)} series match {name} {labels}: {list(found)}")
        return next((samples[-1][1] for samples in found.values()), None)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the newest values of all matching series, without ended ones."""
        values = [samples[-1][1] for samples in self.select(name, **labels).values()]
        return sum(value for value in values if isinstance(value, float))

    # --- the rules --------------------------------------------------------------------------------

    def respond(self, request: ReceivedRequest) -> Reply:
        """Return 204, or 400 or 415 with the first broken rule."""
        if request.path not in PATHS:
            return Reply(404, b"404 page not found\n")
        if request.method != "POST":
            return Reply(405, b"Method Not Allowed\n", {"Allow": "POST"})
        number = len(self.requests) - 1
        broken = [Violation(rule, message, number) for rule, message in _header_faults(request)]
        if any(violation.rule == "content-type" for violation in broken):
            return self._refuse(broken, 415)
        try:
            message = decode_write_request(request.body)
        except WireError as fault:
            broken.append(Violation("body", str(fault), number))
            return self._refuse(broken, 400)
        for entry in message.metadata:
            if not METRIC_NAME.fullmatch(entry.family):
                broken.append(Violation("metadata", f"bad family name {entry.family!r}", number))
            self.metadata[entry.family] = entry
        late_copy = False
        latest_ms = self.now_ms() + GRACE_PERIOD_MS
        for series in message.series:
            stored = self._find_series(series.labels)
            if stored.samples and self._append(series, stored, latest_ms):
                continue
            faults = list(stored.faults)
            if not series.samples:
                faults.append(("samples", "a series without samples"))
            if not faults:
                sample_faults, again = self._keep(series, stored)
                faults.extend(sample_faults)
                late_copy |= again
            broken.extend(Violation(rule, text, number, series.labels) for rule, text in faults)
        if broken:
            return self._refuse(broken, 400)
        return Reply(400, b"out of order sample\n") if late_copy else Reply(204)

    def _refuse(self, broken: list[Violation], status: int) -> Reply:
        self.violations.extend(broken)
        return Reply(status, f"{broken[0].rule}: {broken[0].message}\n".encode())

    def _find_series(self, labels: Labels) -> _StoredSeries:
        known = self._series_by_identity.get(id(labels))
        if known is not None and known[0] is labels:
            return known[1]
        stored = self._series.get(labels)
        if stored is None:
            stored = self._series[labels] = _StoredSeries(tuple(_label_faults(labels)), [], {})
        self._series_by_identity[id(labels)] = labels, stored
        return stored

    def _append(self, series: TimeSeries, stored: _StoredSeries, latest_ms: int) -> bool:
        """Store the only sample of a series that has others, without the detours of `_keep`: tests
        send millions. Return False, with nothing stored, if it may break a rule.
        """
        if len(series.samples) != 1:
            return False
        at, value, bits = series.samples[0]
        # Equal to itself: no NaN.
        if not (stored.samples[-1][0] < at <= latest_ms and value == value):
            return False
        if at < self._newest_ms:
            if at < self._newest_ms - OUT_OF_BOUNDS_MS:
                return False
        else:
            self._newest_ms = at
        stored.bits[at] = bits
        stored.samples.append((at, value))
        return True

    def _keep(
        self, series: TimeSeries, stored: _StoredSeries
    ) -> tuple[list[tuple[str, str]], bool]:
        """Store the valid samples. Return the faults of the others, and whether one of them was a
        resent sample behind a newer one.
        """
        faults: list[tuple[str, str]] = []
        late_copy = False
        kept_bits, kept = stored.bits, stored.samples
        had_samples = bool(kept)
        for sample in series.samples:
            if kept_bits.get(sample.timestamp_ms) == sample.bits:
                self.resent += 1
                late_copy |= kept[-1][0] != sample.timestamp_ms
                continue
            fault = self._sample_fault(sample, kept[-1][0] if kept else None)
            if fault is not None:
                faults.append(fault)
                continue
            kept_bits[sample.timestamp_ms] = sample.bits
            kept.append((sample.timestamp_ms, sample.value))
            self._newest_ms = max(self._newest_ms, sample.timestamp_ms)
        if kept and not had_samples:
            self.samples[series.labels] = kept
        return faults, late_copy

    def _sample_fault(self, sample: Sample, last_ms: int | None) -> tuple[str, str] | None:
        at = sample.timestamp_ms
        if sample.value is not STALE and sample.value != sample.value:
            return "nan", f"NaN with bits {sample.bits:#x}, not the stale marker {STALE_BITS:#x}"
        if last_ms is not None and at == last_ms:
            return "duplicate", f"second value for timestamp {at}"
        if last_ms is not None and at < last_ms:
            return "out-of-order", f"timestamp {at} after {last_ms}"
        if at < self._newest_ms - OUT_OF_BOUNDS_MS:
            return "out-of-bounds", f"timestamp {at}, newest of all is {self._newest_ms}"
        if at > self.now_ms() + GRACE_PERIOD_MS:
            return "future", f"timestamp {at}, now is {self.now_ms()}"
        return None


def count_started_views(receiver: RemoteWriteDouble) -> float:
    """The started views in the metrics that a receiver has stored."""
    return receiver.total("openqoe_views_loaded_total")


def _header_faults(request: ReceivedRequest) -> Iterator[tuple[str, str]]:
    content_type = request.headers.get("content-type", "")
    if content_type.replace(" ", "").lower() not in _CONTENT_TYPES:
        yield "content-type", f"Content-Type is {content_type!r}"
    for name, expected in _REQUIRED_HEADERS.items():
        actual = request.headers.get(name)
        if actual != expected:
            yield "header", f"{name} is {actual!r}, not {expected!r}"
    if not request.headers.get("user-agent", "").strip():
        yield "header", "no User-Agent"


def _label_faults(labels: Labels) -> Iterator[tuple[str, str]]:
    names = [name for name, _ in labels]
    if names != sorted(names, key=str.encode):
        yield "labels-sorted", f"label names are not sorted: {names}"
    if len(set(names)) != len(names):
        yield "labels-unique", f"label name repeated: {names}"
    for name, value in labels:
        if not LABEL_NAME.fullmatch(name):
            yield "label-name", f"bad label name {name!r}"
        if value == "":
            yield "label-value", f"label {name!r} has an empty value"
    metric = dict(labels).get("__name__")
    if metric is None:
        yield "metric-name", "no __name__ label"
    elif not METRIC_NAME.fullmatch(metric):
        yield "metric-name", f"bad metric name {metric!r}"

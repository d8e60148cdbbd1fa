"""The metrics sink: registries to remote-write payloads."""

from collections.abc import Iterable

from openqoe.core.delivery.payload import Payload
from openqoe.core.metrics.export import ExportedSeries
from openqoe.core.metrics.metric import Metric
from openqoe.core.wire import remote_write
from openqoe.core.work import Work


class PayloadWriter:
    """Encodes exported series, with at most ``max_samples`` samples in a request.

    All samples of a series stay together, in order.

    Attributes:
        payloads: What is finished.
    """

    def __init__(
        self, described: Iterable[Metric], now: int, max_samples: int, *, edges_apart: bool
    ) -> None:
        """
        Args:
            described: Metrics whose metadata goes with the first request.
            now: Time of the flush in ms.
            max_samples: Bound for each request.
            edges_apart: Whether series that begin or end come last, in requests of their own:
                the others can then be thinned in a long outage.
        """
        self.payloads: list[Payload] = []
        self._metadata = [remote_write.encode_metadata(described)]
        self._now = now
        self._max_samples = max_samples
        self._edges_apart = edges_apart
        self._edges: list[ExportedSeries] = []
        self._encoder = remote_write.SeriesEncoder()
        self._parts: list[bytes] = []
        self._oldest: int | None = None
        self._samples = 0
        self._thinnable = edges_apart

    def add(self, series: ExportedSeries) -> None:
        """Take a series."""
        if self._thinnable and _is_edge(series):
            self._edges.append(series)
            return
        if self._samples + len(series.samples) > self._max_samples:
            self._end_request()
        self._parts.append(self._encoder.encode(series))
        self._samples += len(series.samples)
        begins = series.samples[0][0]
        self._oldest = begins if self._oldest is None else min(self._oldest, begins)

    def close(self) -> Work[None]:
        """Finish the last requests."""
        self._end_request()
        edges, self._edges, self._thinnable = self._edges, [], False
        for series in edges:
            self.add(series)
            yield 1
        self._end_request()

    def _end_request(self) -> None:
        if not self._parts:
            return
        self.payloads.append(
            Payload(
                "metrics",
                remote_write.HEADERS,
                remote_write.compress((*self._parts, *self._metadata)),
                self._samples,
                self._now,
                self._oldest,
                thinnable=self._thinnable,
            )
        )
        self._parts, self._metadata = [], []
        self._samples, self._oldest = 0, None


def _is_edge(series: ExportedSeries) -> bool:
    """Whether the series begins or ends."""
    value = series.samples[-1][1]
    return len(series.samples) > 1 or value != value


def split(payload: Payload) -> tuple[Payload, ...]:
    """Halve a payload that a destination finds too large."""
    return tuple(
        Payload("metrics", payload.headers, body, samples, payload.created, payload.oldest)
        for body, samples in remote_write.split(payload.body)
    )

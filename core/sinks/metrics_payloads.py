"""The metrics sink: turns exported series into remote-write payloads."""

from collections.abc import Iterable

from ..delivery.payload import Payload
from ..metrics.metric import Metric
from ..wire import remote_write
from .series_exporter import ExportedSeries, SteadySeries


class MetricsPayloadWriter:
    """Encodes exported series, with at most ``max_samples`` samples per request.

    The samples of one series stay together, in order.
    """

    def __init__(
        self,
        described_metrics: Iterable[Metric],
        now: int,
        max_samples: int,
        *,
        separate_edges: bool,
        tenant: str = "",
    ) -> None:
        """
        Args:
            described_metrics: Metrics whose metadata goes with the first request.
            now: Time of the flush in ms.
            max_samples: Bound of each request.
            separate_edges: Whether series that begin or end come last, in requests of their own,
                so that a long outage can thin the others.
            tenant: The tenant of the series; "" for the default one.
        """
        self._metadata = [remote_write.encode_metadata(described_metrics)]
        self._now = now
        self._max_samples = max_samples
        self._tenant = tenant
        self._encoder = remote_write.SeriesEncoder()
        self._steady = _RequestBuilder(thinnable=separate_edges)
        self._edges = _RequestBuilder(thinnable=False) if separate_edges else self._steady

    def add_series(self, series: ExportedSeries | SteadySeries) -> None:
        """Adds one series that begins or ends, or several continuing ones."""
        # Encoded at once: 200,000 new series kept as objects would burden the garbage collector.
        if isinstance(series, SteadySeries):
            self._add_steady(series.at, series.samples)
            return
        count = len(series.samples)
        requests = self._edges
        if requests.samples + count > self._max_samples:
            self._end_request(requests)
        requests.add([self._encoder.encode(series)], count, series.samples[0][0])

    def _add_steady(self, at: int, samples: list[tuple[bytes, float]]) -> None:
        requests = self._steady
        while (room := self._max_samples - requests.samples) < len(samples):
            if room:
                requests.add(self._encoder.encode_steady(at, samples[:room]), room, at)
                samples = samples[room:]
            self._end_request(requests)
        requests.add(self._encoder.encode_steady(at, samples), len(samples), at)

    def finish(self) -> list[Payload]:
        """Completes the last requests; returns all of them."""
        self._end_request(self._steady)
        if self._edges is self._steady:
            return self._steady.payloads
        self._end_request(self._edges)
        return [*self._steady.payloads, *self._edges.payloads]

    def _end_request(self, requests: "_RequestBuilder") -> None:
        if not requests.parts:
            return
        requests.payloads.append(
            Payload(
                "metrics",
                remote_write.HEADERS,
                remote_write.compress((*requests.parts, *self._metadata)),
                requests.samples,
                self._now,
                requests.oldest,
                thinnable=requests.thinnable,
                tenant=self._tenant,
            )
        )
        self._metadata = []
        requests.start_request()


class _RequestBuilder:
    """Completed requests of one kind, and the open one.

    Attributes:
        thinnable: Whether a long outage may thin them.
        payloads: Completed requests.
        parts: Encoded series of the open request.
        samples: Samples of the open request.
        oldest: Its oldest timestamp, in ms.
    """

    def __init__(self, *, thinnable: bool) -> None:
        self.thinnable = thinnable
        self.payloads: list[Payload] = []
        self.start_request()

    def start_request(self) -> None:
        """Opens an empty request."""
        self.parts: list[bytes] = []
        self.samples = 0
        self.oldest: int | None = None

    def add(self, encoded: list[bytes], samples: int, oldest: int) -> None:
        """Adds encoded series to the open request."""
        self.parts += encoded
        self.samples += samples
        if self.oldest is None or oldest < self.oldest:
            self.oldest = oldest

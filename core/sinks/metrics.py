"""The metrics sink: registries to remote-write payloads."""

from collections.abc import Iterable, Iterator

from openqoe.core.delivery.payload import Payload
from openqoe.core.metrics.export import ExportedSeries
from openqoe.core.metrics.metric import Metric
from openqoe.core.wire import remote_write


def payloads(
    exported: Iterable[ExportedSeries],
    described: Iterable[Metric],
    now: int,
    max_samples: int,
    *,
    edges_apart: bool,
) -> Iterator[Payload]:
    """Encode exported series, with at most ``max_samples`` samples in a request.

    All samples of a series stay together, in order.

    Args:
        exported: The series.
        described: Metrics whose metadata goes with the first request.
        now: Time of the flush in ms.
        max_samples: Bound for each request.
        edges_apart: Whether series that begin or end come last, in requests of their own:
            the others can then be thinned in a long outage.
    """
    metadata = [remote_write.encode_metadata(described)]
    edges: list[ExportedSeries] = []
    for thinnable in (True, False):
        chunk: list[ExportedSeries] = []
        samples = 0
        for series in exported if thinnable else edges:
            if edges_apart and thinnable and _is_edge(series):
                edges.append(series)
                continue
            if chunk and samples + len(series.samples) > max_samples:
                yield _payload(chunk, metadata, samples, now, edges_apart and thinnable)
                chunk, metadata, samples = [], [], 0
            chunk.append(series)
            samples += len(series.samples)
        if chunk:
            yield _payload(chunk, metadata, samples, now, edges_apart and thinnable)
            metadata = []


def _is_edge(series: ExportedSeries) -> bool:
    """Whether the series begins or ends."""
    value = series.samples[-1][1]
    return len(series.samples) > 1 or value != value


def _payload(
    chunk: list[ExportedSeries], metadata: list[bytes], samples: int, now: int, thinnable: bool
) -> Payload:
    body = remote_write.compress((*remote_write.encode_series(chunk), *metadata))
    oldest = min(series.samples[0][0] for series in chunk)
    return Payload("metrics", remote_write.HEADERS, body, samples, now, oldest, thinnable=thinnable)


def split(payload: Payload) -> tuple[Payload, ...]:
    """Halve a payload that a destination finds too large."""
    return tuple(
        Payload("metrics", payload.headers, body, samples, payload.created, payload.oldest)
        for body, samples in remote_write.split(payload.body)
    )

"""The caches of the writer: texts of any length pin no more than their bounds."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from openqoe.core.sinks.series_exporter import STALE
from openqoe.embedded import FILE
from openqoe.embedded.sample_schema import open_writer
from openqoe.embedded.sample_writer import CACHED_SERIES_BYTES, SampleWriter
from tests.embedded.stored_rig import config_of, entries, metrics
from tests.support.event_builders import NOW


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SampleWriter]:
    with closing(open_writer(tmp_path / FILE, full=False)) as database:
        one = SampleWriter(database, config_of(tmp_path))
        write_entries(one, "film")  # what is imported or made once is no cache
        tracemalloc.start()
        yield one
        tracemalloc.stop()


def write_entries(writer: SampleWriter, *videos: str, **labels: str) -> None:
    lines = (
        (NOW + number, {"view_id": "v", "video": {"id": text, "title": text}})
        for number, text in enumerate(videos)
    )
    push = entries({"event_type": "playing", **labels}, *lines)
    writer.write_logs(push.body, dict(push.headers)["Content-Type"])


def used() -> int:
    gc.collect()
    embedded = tracemalloc.Filter(True, "*/embedded/*")
    other = tracemalloc.Filter(False, "*/tests/*")
    snapshot = tracemalloc.take_snapshot().filter_traces([embedded, other])
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


def test_video_is_cached_without_its_id_and_title(writer: SampleWriter) -> None:
    """Half a million were cached, of up to 16 KB each."""
    write_entries(writer, *(f"{number}" + "\U0001f600" * 2_000 for number in range(400)))
    assert used() < 400 * 600


def test_stream_is_cached_without_its_labels(writer: SampleWriter) -> None:
    for number in range(400):
        write_entries(writer, app_version=f"{number}" + "x" * 2_000)
    assert used() < 400 * 600


def series(number: int, value: float) -> tuple[dict[str, str], list[tuple[int, float]]]:
    labels = {"__name__": "views_total", "app_version": f"{number}-" + "x" * 2_000}
    return labels, [(NOW + round(value), value)]


def test_cached_series_has_the_documented_size_whatever_its_labels(writer: SampleWriter) -> None:
    writer.write_metrics(metrics(series(0, 1)).body)
    before = used()
    for start in range(1, 2_001, 500):
        writer.write_metrics(metrics(*(series(start + n, 1) for n in range(500))).body)
    assert used() - before < 2_000 * CACHED_SERIES_BYTES + 100_000


def test_series_that_has_ended_leaves_the_cache(writer: SampleWriter) -> None:
    before = used()
    for number in range(400):
        labels, _ = series(number, 1)
        writer.write_metrics(metrics((labels, [(NOW, 1.0), (NOW + 1, STALE)])).body)
    assert used() - before < 400 * CACHED_SERIES_BYTES / 2

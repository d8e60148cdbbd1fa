"""A store under test: requests in, rows out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Delivery, HttpResult, LokiPush, RemoteWrite
from openqoe.core.wire.loki_push import ENCODINGS, format_labels
from openqoe.core.wire.remote_write import HEADERS
from openqoe.embedded import FILE, open_reader
from openqoe.embedded.sample_store import EmbeddedStore
from openqoe.shells.service import logs
from tests.support.wire_codec import MetricMetadata, encode_write_request

Labels = tuple[tuple[str, str], ...]


def config_of(directory: Path, **settings: str) -> Config:
    return Config.from_environment(
        {
            "OPENQOE_DATA_DIR": str(directory),
            "OPENQOE_LOG_FORMAT": "json",
            "OPENQOE_DURABILITY": "normal",
            "OPENQOE_EMBEDDED_MAX_AGE": "900000000",  # the events of tests are years old
            **settings,
        }
    )


class Stored:
    """A store in a directory; ``write`` returns the results that it reports."""

    def __init__(
        self, directory: Path, settings: Mapping[str, str] | None = None, *, reserve: int = 0
    ) -> None:
        self.directory = directory
        config = config_of(directory, **(settings or {}))
        self.store = EmbeddedStore(config, logs.configure(config), reserve=reserve)
        self._results: SimpleQueue[HttpResult] = SimpleQueue()
        self.store.start(lambda effect, result: self._results.put(result))

    def write(self, *effects: Delivery) -> list[HttpResult]:
        """Write requests one after the other."""
        results = []
        for effect in effects:
            self.store.submit(effect)
            results.append(self._results.get(timeout=30))
        return results

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return rows(self.directory, query, *parameters)

    def dump(self) -> list[str]:
        """The contents of the file, without its own bookkeeping."""
        with closing(open_reader(self.directory / FILE)) as database:
            own = ("sqlite_sequence", "upkeep")  # of ids that come next, some are skipped
            return [line for line in database.iterdump() if not any(one in line for one in own)]


@contextmanager
def stored(
    directory: Path, settings: Mapping[str, str] | None = None, *, reserve: int = 0
) -> Iterator[Stored]:
    one = Stored(directory, settings, reserve=reserve)
    try:
        yield one
    finally:
        one.store.close()


def rows(directory: Path, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(open_reader(directory / FILE)) as database:
        return database.execute(query, parameters).fetchall()


def metrics(
    *series: tuple[dict[str, str], list[tuple[int, float]]], described: tuple[str, ...] = ()
) -> RemoteWrite:
    """A remote-write request, encoded by protobuf itself."""
    body = encode_write_request(
        ((dict(sorted(labels.items())), samples) for labels, samples in series),
        (MetricMetadata(name, "counter", "Help.", "s") for name in described),
    )
    return RemoteWrite(1, "embedded_metrics", "embedded:metrics", HEADERS, body)


def entries(
    labels: dict[str, str],
    *lines: tuple[int, dict[str, Any]],
    encoding: str = "protobuf",
    with_metadata: bool = True,
) -> LokiPush:
    """A push request of events."""
    one = ENCODINGS[encoding]
    encoded = []
    for at, line in lines:
        names = ("view_id", "session_id", "viewer_id")
        pairs = tuple((name, line[name]) for name in names if name in line)
        if with_metadata and "video" in line:
            pairs = (*pairs, ("video_id", str(line["video"]["id"])))
        encoded.append(
            (at, json.dumps(line).encode(), one.encode_metadata(pairs) if with_metadata else b"")
        )
    body = one.encode_request([(format_labels(sorted(labels.items())), encoded)])
    return LokiPush(2, "embedded_logs", "embedded:logs", one.headers, body)


def by_series(directory: Path) -> dict[Labels, list[tuple[int, float | None]]]:
    """The samples of each series by its labels, name included."""
    found: dict[Labels, list[tuple[int, float | None]]] = {}
    query = "SELECT name, labels, at, value FROM series JOIN samples ON series = id ORDER BY id, at"
    for name, labels, at, value in rows(directory, query):
        key = tuple(sorted({"__name__": name, **json.loads(labels)}.items()))
        found.setdefault(key, []).append((at, value))
    return found

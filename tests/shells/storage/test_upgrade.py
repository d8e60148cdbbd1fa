"""Data directories of earlier versions can still be used."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Append, LoadPayload, PayloadBody, Persist, Record
from openqoe.shells.service import logs
from openqoe.shells.service.bootstrap import open_runtime
from openqoe.shells.service.clock import now_ms
from openqoe.shells.storage import Storage, inspect_slot
from tests.support import golden_data_directory as golden
from tests.support.event_builders import NOW
from tests.support.wire_codec import STALE, decode_write_request

DIRECTORIES = sorted(golden.PATH.parent.glob("data-directory-v*"))


@pytest.fixture(params=DIRECTORIES, ids=[path.name for path in DIRECTORIES])
def data_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory in which a process of that version was killed."""
    shutil.copytree(request.param, tmp_path / "slot-0")
    return tmp_path


def test_fixture_of_the_current_format_exists() -> None:
    assert golden.PATH in DIRECTORIES


def test_storage_of_an_earlier_version_loads_completely(data_directory: Path) -> None:
    storage = Storage(data_directory / "slot-0" / "worker.db", "normal")
    loaded = storage.load()
    assert loaded.snapshot == golden.SNAPSHOT
    assert tuple(loaded.records) == golden.RECORDS
    assert loaded.payloads == tuple(replace(one, body=b"") for one in golden.PAYLOADS)
    assert loaded.batches == golden.BATCHES
    assert (loaded.last_record, loaded.last_payload) == (22, 9)
    results: list[object] = []
    storage.start(lambda completions: results.extend(result for _, result in completions))
    for payload in golden.PAYLOADS:
        storage.submit(LoadPayload(payload.number, payload.number))
    storage.submit(Append(10, Record(23, NOW, b"{}", None, b"\x05" * 16)))
    storage.close()
    assert results[:2] == [PayloadBody(payload.body) for payload in golden.PAYLOADS]
    assert storage.notices == []


def test_slot_of_an_earlier_version_can_be_inspected(data_directory: Path) -> None:
    contents = inspect_slot(data_directory / "slot-0" / "worker.db")
    assert contents.records == 2
    assert [(one.kind, one.destination, one.items) for one in contents.pending] == [
        ("logs", "loki", 2),
        ("metrics", "prometheus", 12),
    ]


def test_worker_resumes_from_an_earlier_version(
    data_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.from_environment(
        {
            "PROMETHEUS_URL": "http://127.0.0.1:9/api/v1/write",
            "LOKI_URL": "http://127.0.0.1:9/loki/api/v1/push",
            "OPENQOE_DATA_DIR": str(data_directory),
            "OPENQOE_LOG_FORMAT": "json",
        }
    )
    runtime = open_runtime(config, "", logs.configure(config))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert runtime.worker.undelivered == {"prometheus": 12, "loki": 2}
    assert [(line["event"], line.get("number")) for line in lines] == [
        ("journalled batch cannot be replayed", 22),
        ("resumed from the previous process", None),
    ]
    # The view of the sound record, which was loaded. The series of the snapshot have idled.
    runtime.start(lambda completions: None, lambda update, result: None)
    later = now_ms() + 60_000
    effects = list(runtime.worker.poll(later))
    while runtime.worker.next_poll() == later:  # the flush is incremental
        effects += runtime.worker.poll(later)
    (flush,) = [e for e in effects if isinstance(e, Persist)]
    metrics = [one for one in flush.payloads if one.kind == "metrics"]
    sent = [decode_write_request(one.body) for one in metrics]
    last = {
        dict(series.labels)["__name__"]: series.samples[-1].value
        for request in sent
        for series in request.series
    }
    assert last["openqoe_views_loaded_total"] == 1
    assert last["openqoe_views_started_total"] is STALE
    runtime.close()

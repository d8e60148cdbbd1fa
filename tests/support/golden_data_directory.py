"""The data directory of a killed process, which every later version must open.

    python -m tests.support.golden_data_directory

writes it again. Once a version is released, do so only for a new format, under a new name: the
directory represents the workers in the field.
"""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Final

from openqoe.core.effects import Append, DedupEntry, Persist, Record, Stored, StoredPayload
from openqoe.shells.storage import Storage, database_schema
from tests.support import golden_snapshot
from tests.support.event_builders import NOW, batch, event

PATH: Final = Path(__file__).parents[1] / "fixtures" / f"data-directory-v{database_schema.FORMAT}"

SNAPSHOT: Final = golden_snapshot.EARLIER_PATH.read_bytes()
"""The directories in the field hold a snapshot of the earlier format."""

PAYLOADS: Final = (
    StoredPayload(
        7,
        "metrics",
        (("Content-Encoding", "snappy"),),
        b"metrics \x00\xff" * 30,
        300,
        12,
        NOW,
        True,
        "prometheus",
    ),
    StoredPayload(
        9, "logs", (("Content-Type", "application/json"),), b"logs", 4, 2, NOW + 1, False, "loki"
    ),
)

RECORDS: Final = (
    Record(21, NOW + 2, batch(event("viewstart", view_id="view-3")), "DE", b"\x01" * 16),
    Record(22, NOW + 3, b"\xff not JSON" * 100, None, b"\x02" * 16),
)

BATCHES: Final = (DedupEntry(b"\x03" * 16, NOW - 5, 10), DedupEntry(b"\x04" * 16, NOW, 1))


def write(path: Path) -> None:
    """Write the files of a slot."""
    done = threading.Event()
    storage = Storage(path, "normal")
    storage.load()
    storage.start(lambda completions: done.set())
    storage.submit(Persist(1, (SNAPSHOT,), PAYLOADS, 20, BATCHES, NOW - 86_400_000, 1_000))
    for number, record in enumerate(RECORDS, 2):
        assert storage.submit(Append(number, record)) == Stored()
    storage.close()
    assert done.is_set()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory) / "worker.db")
        shutil.rmtree(PATH, ignore_errors=True)
        shutil.copytree(directory, PATH)
    print(f"{PATH}: {', '.join(sorted(one.name for one in PATH.iterdir()))}")

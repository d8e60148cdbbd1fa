"""The storage: what is reported as stored survives any end of the process."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from openqoe.core.effects import (
    Append,
    DedupEntry,
    Forget,
    LoadPayload,
    PayloadBody,
    Persist,
    Record,
    RewriteStorage,
    StorageEffect,
    StorageFailure,
    StorageResult,
    Stored,
    StoredPayload,
)
from openqoe.shells.storage import NewerFormatError, Slots, Storage, StorageError, inspect_slot
from openqoe.shells.storage.journal import count_records, frame_record
from openqoe.shells.storage.slot_storage import ReportedEffect


def record(number: int, body: bytes | None = None) -> Record:
    return Record(number, 1000 + number, body or b'{"n":%d}' % number * 50, "DE", b"%016d" % number)


def payload(number: int, body: bytes = b"payload", *, created: int = 5) -> StoredPayload:
    headers = (("Content-Type", "x"),)
    return StoredPayload(number, "logs", headers, body, len(body), 3, created, False, "loki")


def persist(
    effect_id: int,
    *payloads: StoredPayload,
    through: int = 0,
    batches: tuple[DedupEntry, ...] = (),
    since: int = 0,
    most: int = 100,
    snapshot: bytes = b"state",
) -> Persist:
    pieces = (snapshot[:2], snapshot[2:])
    return Persist(effect_id, pieces, payloads, through, batches, since, most)


class Open:
    """A started storage, and the results that it has reported."""

    def __init__(
        self, path: Path, durability: Literal["full", "normal"] = "normal", *, reserve: int = 0
    ) -> None:
        self.storage = Storage(path, durability, reserve=reserve)
        self.loaded = self.storage.load()
        self.records = list(self.loaded.records)
        self.results: list[tuple[ReportedEffect, StorageResult]] = []
        self._came = threading.Condition()
        self.storage.start(self._report)

    def _report(self, results: tuple[tuple[ReportedEffect, StorageResult], ...]) -> None:
        with self._came:
            self.results += results
            self._came.notify_all()

    def do(self, *effects: StorageEffect) -> list[StorageResult]:
        """Submit effects; return the results of those that have one, in order."""
        before = len(self.results)
        for effect in effects:
            result = self.storage.submit(effect)
            if result is not None:
                assert isinstance(effect, Append)
                self._report(((effect, result),))
        answered = [effect for effect in effects if not isinstance(effect, Forget)]
        expected = before + len(answered)
        with self._came:
            assert self._came.wait_for(lambda: len(self.results) >= expected, 20)
        results = {effect.id: result for effect, result in self.results[before:]}
        return [results[effect.id] for effect in answered]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.db"


@pytest.fixture(params=["normal", "full"])
def opened(path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    one = Open(path, request.param)
    yield one
    one.storage.close()


def reopened(path: Path) -> Open:
    one = Open(path)
    one.storage.close()
    return one


def test_new_storage_is_empty(opened: Open) -> None:
    assert opened.loaded.snapshot is None
    assert opened.records == []
    assert opened.loaded.payloads == ()
    assert opened.loaded.batches == ()
    assert (opened.loaded.last_record, opened.loaded.last_payload) == (0, 0)


def test_records_are_read_unchanged_and_in_order(opened: Open, path: Path) -> None:
    records = [record(1), record(2, b"\x00" * 5000), record(3, "ünï".encode())]
    assert opened.do(*(Append(r.number, r) for r in records)) == [Stored()] * 3
    opened.storage.close()
    assert reopened(path).records == records


def test_large_snapshot_is_read_unchanged(opened: Open, path: Path) -> None:
    pieces = tuple(random.Random(n).randbytes(9_999) for n in range(500))
    opened.do(Persist(1, pieces, (), 0, (), 0, 100))
    opened.do(Persist(2, pieces[::-1], (), 0, (), 0, 100))
    opened.storage.close()
    assert reopened(path).loaded.snapshot == b"".join(pieces[::-1])


def test_persist_replaces_snapshot_trims_journal_and_fills_outbox(opened: Open, path: Path) -> None:
    batch = DedupEntry(b"d" * 16, 7, 2)
    opened.do(Append(1, record(1)), Append(2, record(2)))
    opened.do(persist(3, payload(1), payload(2), through=1, batches=(batch,), snapshot=b"one"))
    opened.do(Forget((1,)), persist(4, payload(3), through=1, snapshot=b"two"))
    opened.storage.close()
    again = reopened(path)
    assert again.loaded.snapshot == b"two"
    assert again.records == [record(2)]
    assert [p.number for p in again.loaded.payloads] == [2, 3]
    assert {(p.body, p.size, p.items) for p in again.loaded.payloads} == {(b"", 7, 3)}
    assert again.loaded.batches == (batch,)


def test_load_payload_returns_body(opened: Open) -> None:
    opened.do(persist(1, payload(1, b"abc")))
    assert opened.do(LoadPayload(2, 1), LoadPayload(3, 9)) == [
        PayloadBody(b"abc"),
        PayloadBody(None),
    ]


def test_forgotten_payloads_are_deleted_by_close(opened: Open, path: Path) -> None:
    opened.do(persist(1, payload(1), payload(2), payload(3)))
    opened.do(Forget((1,)), Append(2, record(1)))
    opened.do(Forget((2,)))
    opened.storage.close()
    assert [p.number for p in reopened(path).loaded.payloads] == [3]


def test_numbers_of_deleted_rows_are_not_reused(opened: Open, path: Path) -> None:
    opened.do(Append(1, record(41)), persist(2, payload(17), through=41))
    opened.do(Forget((17,)), persist(3, through=41))
    opened.storage.close()
    loaded = reopened(path).loaded
    assert (loaded.last_record, loaded.last_payload) == (41, 17)


def test_dedup_window_is_bounded_by_age_and_count(opened: Open, path: Path) -> None:
    batches = tuple(DedupEntry(b"%016d" % n, n, 1) for n in range(10))
    opened.do(persist(1, batches=batches, since=3, most=4))
    opened.storage.close()
    assert [batch.at for batch in reopened(path).loaded.batches] == [6, 7, 8, 9]


def test_record_is_durable_when_submit_returns(path: Path) -> None:
    one = Open(path)
    assert one.storage.submit(Append(1, record(1))) == Stored()
    assert reopened(path).records == [record(1)]
    one.storage.close()


def test_gathered_records_share_one_sync(path: Path) -> None:
    storage = Storage(path, "full", reserve=0)
    for number in range(1, 501):
        assert storage.submit(Append(number, record(number))) is None
    reported: list[tuple[tuple[ReportedEffect, StorageResult], ...]] = []
    storage.start(reported.append)
    storage.close()
    (results,) = reported
    assert [effect.id for effect, _ in results] == list(range(1, 501))
    assert [result for _, result in results] == [Stored()] * 500
    assert storage.journal.writes == 1


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_record_does_not_wait_for_transaction(
    path: Path, durability: Literal["full", "normal"]
) -> None:
    one = Open(path, durability)
    one.do(persist(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        one.storage.submit(persist(2))
        assert one.do(Append(3, record(1))) == [Stored()]
        other.execute("COMMIT")
    one.storage.close()
    assert reopened(path).records == [record(1)]


def test_untrimmed_records_covered_by_snapshot_are_skipped(opened: Open, path: Path) -> None:
    opened.do(Append(1, record(1)), Append(2, record(2)), persist(3), Append(4, record(3)))
    copies = {one: one.read_bytes() for one in path.parent.glob("journal-*")}
    opened.do(persist(5, through=2))
    opened.storage.close()
    for one, content in copies.items():
        one.write_bytes(content)
    again = reopened(path)
    assert again.records == [record(3)]
    assert again.loaded.last_record == 3
    assert count_records(path.parent, 2) == 1


def test_faulty_effect_does_not_fail_others(opened: Open, path: Path) -> None:
    faulty = payload(2**70)  # larger than SQLite's integers
    results = opened.do(Append(2, record(1)), persist(3, faulty), Append(4, record(2)))
    assert [type(result) for result in results] == [Stored, StorageFailure, Stored]
    opened.storage.close()
    assert reopened(path).records == [record(1), record(2)]


def test_journal_keeps_reserve_free(path: Path) -> None:
    one = Open(path, reserve=2**60)
    appended, persisted = one.do(Append(1, record(1)), persist(2, payload(1)))
    assert isinstance(appended, StorageFailure)
    assert appended.full
    assert isinstance(persisted, Stored)  # which frees space
    assert persisted.no_room == appended.reason
    one.storage.close()


def test_persist_with_free_disk_reports_room(opened: Open) -> None:
    assert opened.do(persist(1)) == [Stored()]


def test_space_of_deleted_payloads_returns_to_file_system(opened: Open, path: Path) -> None:
    numbers = tuple(range(1, 41))
    opened.do(persist(1, *(payload(number, os.urandom(20_000)) for number in numbers)))
    opened.do(Forget(numbers), Append(2, record(1)))
    opened.storage.close()
    assert path.stat().st_size < 100_000


def test_close_executes_submitted_effects_and_is_idempotent(path: Path) -> None:
    one = Open(path)
    for number in range(1, 200):
        one.storage.submit(Append(number, record(number)))
    one.storage.close()
    one.storage.close()
    assert len(reopened(path).records) == 199


# A full disk


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("durability", ["normal", "full"])
def test_full_disk_fails_appends_until_space_is_freed(
    tmp_path: Path, durability: Literal["full", "normal"]
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this system does not allow to mount a small file system")
    try:
        one = Open(mount / "worker.db", durability, reserve=2**20)
        results = one.do(*(Append(n, record(n, os.urandom(50_000))) for n in range(1, 80)))
        stored = [n for n, result in enumerate(results, 1) if result == Stored()]
        failed = [result for result in results if result != Stored()]
        assert stored and failed
        assert all(isinstance(result, StorageFailure) and result.full for result in failed)
        (persisted,) = one.do(persist(100, through=80))  # trims the journal
        assert isinstance(persisted, Stored)
        assert one.do(Append(101, record(101))) == [Stored()]
        one.storage.close()
        again = reopened(mount / "worker.db")
        assert [r.number for r in again.records] == [101]
        assert again.storage.notices == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


# Damage


def filled(path: Path, records: int = 60) -> None:
    one = Open(path)
    one.do(persist(1, *(payload(n, b"%d" % n * 500) for n in range(1, 30)), snapshot=b"s" * 5000))
    one.do(*(Append(n, record(n, os.urandom(600))) for n in range(1, records + 1)))
    one.storage.close()


def test_file_that_is_not_a_database_is_kept_under_another_name(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)
    one = reopened(path)
    assert one.records == []
    (notice,) = one.storage.notices
    assert notice.event == "data file was damaged; its sound rows were recovered"
    assert ("kept_as", "worker.db.damaged-1") in notice.fields
    kept = path.with_name("worker.db.damaged-1")
    assert kept.read_bytes() == b"something else entirely" * 100
    assert reopened(path).storage.notices == []


@pytest.mark.parametrize("seed", range(25))
def test_damaged_pages_lose_only_their_rows(path: Path, seed: int) -> None:
    filled(path)
    before = reopened(path)
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(0, len(content) - 600)
        content[at : at + 512] = chance.randbytes(512)
    path.write_bytes(content)
    try:
        after = reopened(path)
    except NewerFormatError:
        return  # the damage hit the version: the file is refused and kept
    known = {r.number: r for r in before.records}
    for found in after.records:
        assert found.body == known[found.number].body
    assert after.loaded.snapshot in (None, b"s" * 5000)
    work = Open(path)  # it works again
    number = work.loaded.last_record + 1
    assert work.do(Append(1, record(number))) == [Stored()]
    work.storage.close()


TORN = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.shells.storage.test_storage import Open, record
from openqoe.core.effects import Append
Open(Path({file!r})).do(*(Append(n, record(n)) for n in range(1, 50)))
os._exit(0)
"""


def test_truncated_journal_loses_and_counts_the_records_behind(path: Path) -> None:
    code = TORN.format(path=sys.path, file=str(path))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    (segment,) = path.parent.glob("journal-*")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size * 2 // 3)
    again = reopened(path)
    assert again.records == [record(number) for number in range(1, len(again.records) + 1)]
    assert len(again.records) in (32, 33)
    assert again.storage.missing == 49 - len(again.records)
    assert_reported(again, "acknowledged batches are missing from the journal")


def assert_reported(one: Open, event: str) -> dict[str, str | int | float]:
    """Assert that this is the only notice, and return its fields."""
    (notice,) = one.storage.notices
    assert (notice.level, notice.event) == ("error", event)
    return dict(notice.fields)


def test_record_that_was_torn_before_its_answer_is_not_missing(path: Path) -> None:
    filled(path)
    with max(path.parent.glob("journal-*")).open("ab") as file:
        file.write(frame_record(record(61))[1][:-7])
    again = reopened(path)
    assert [one.number for one in again.records] == list(range(1, 61))
    assert (again.storage.missing, again.storage.notices) == (0, [])


@pytest.mark.parametrize("damage", ["emptied", "deleted"])
def test_lost_journal_is_counted_once(path: Path, damage: str) -> None:
    filled(path)
    for segment in path.parent.glob("journal-*"):
        segment.unlink() if damage == "deleted" else os.truncate(segment, 0)
    again = reopened(path)
    assert (again.records, again.storage.missing) == ([], 60)
    assert_reported(again, "acknowledged batches are missing from the journal")
    assert again.loaded.last_record == 60  # no number is used twice
    work = Open(path)
    work.do(Append(1, record(61)), persist(2, through=61))
    work.storage.close()
    later = reopened(path)
    assert (later.storage.missing, later.storage.notices) == (0, [])


def test_damaged_segment_is_kept(path: Path) -> None:
    filled(path)
    (segment,) = path.parent.glob("journal-*")
    content = bytearray(segment.read_bytes())
    content[5000:7000] = bytes(2000)
    segment.write_bytes(content)
    again = reopened(path)
    assert 0 < again.storage.missing == 60 - len(again.records)
    fields = assert_reported(again, "acknowledged batches are missing from the journal")
    kept = path.with_name(str(fields["kept_as"]))
    work = Open(path)
    work.do(persist(1, through=60))  # trims the journal
    work.storage.close()
    assert not segment.exists()
    assert kept.read_bytes() == content


WAL = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.shells.storage.test_storage import Open, payload, persist, record
from openqoe.core.effects import Append
one = Open(Path({file!r}), "full")
for n in range(1, 31):
    one.do(Append(1, record(n)))
    if n % 10 == 0:
        one.do(persist(2, payload(n), through=n, snapshot=b"%d" % n * 3000))
one.do(Append(1, record(31)))
os._exit(0)
"""


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_damaged_write_ahead_log_is_noticed_and_kept(path: Path, damage: str) -> None:
    code = WAL.format(path=sys.path, file=str(path))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    log = path.with_name("worker.db-wal")
    content = bytearray(log.read_bytes())
    if damage == "flipped":
        content[len(content) * 2 // 3] ^= 255
        log.write_bytes(content)
    elif damage == "truncated":
        os.truncate(log, len(content) * 2 // 3)
    else:
        log.unlink()
    again = reopened(path)
    first, *others = again.storage.notices
    assert (first.level, first.event) == ("error", "data file lost its latest transactions")
    fields = dict(first.fields)
    if damage == "deleted":  # the file is empty, the counters restart: nothing to miss
        assert (fields["records"], again.storage.missing, others) == (30, 0, [])
    else:
        assert fields["records"] in (10, 20)
        assert [one.event for one in others] == [
            "acknowledged batches are missing from the journal"
        ]
        assert again.storage.missing == fields["records"]
        kept = path.with_name(str(fields["kept_as"]))
        assert kept.name == "worker.db-wal.damaged-1"
        assert kept.stat().st_size == len(content) * (2 if damage == "truncated" else 3) // 3
    assert [one.number for one in again.records] == [31]
    assert (again.loaded.last_record, again.loaded.last_payload) == (31, 30)


def test_sound_write_ahead_log_of_a_crash_leaves_no_copy(path: Path) -> None:
    code = WAL.format(path=sys.path, file=str(path))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    again = reopened(path)
    assert [one.number for one in again.records] == [31]
    assert (again.storage.missing, again.storage.notices) == (0, [])
    assert not list(path.parent.glob("*.copy")) and not list(path.parent.glob("*damaged*"))


def test_newer_format_is_refused_and_kept(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerFormatError, match="format 99"):
        Storage(path, "full")
    assert not list(path.parent.glob("*damaged*"))


def test_path_of_directory_raises_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        Storage(tmp_path, "full")  # a directory


# Sudden ends

APPENDER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.shells.storage.test_storage import record
from openqoe.core.effects import Append
from openqoe.shells.storage import Storage

storage = Storage(Path({file!r}), {durability!r}, reserve=0)
loaded = storage.load()
list(loaded.records)

def report(results):
    for effect, result in results:
        print(effect.record.number, flush=True)

storage.start(report)
number = loaded.last_record
while True:
    number += 1
    if storage.submit(Append(number, record(number))) is not None:
        print(number, flush=True)
    if number % 20 == 0:
        import time; time.sleep(0.002)
"""


@pytest.mark.parametrize("after", [5, 120, 700])
@pytest.mark.parametrize("durability", ["normal", "full"])
def test_reported_records_survive_sigkill(path: Path, durability: str, after: int) -> None:
    code = APPENDER.format(path=sys.path, file=str(path), durability=durability)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    reported = [int(process.stdout.readline()) for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    reported += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
    process.wait()
    process.stdout.close()
    found = [r.number for r in reopened(path).records]
    assert found[: len(reported)] == reported
    assert found == sorted(found)


# Deletion under a running process


@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced", "rotated"])
@pytest.mark.parametrize("durability", ["normal", "full"])
def test_next_record_notices_deleted_directory(
    tmp_path: Path, durability: Literal["full", "normal"], how: str
) -> None:
    slot = Slots(tmp_path / "data").claim()
    one = Open(slot.path, durability)
    one.do(Append(1, record(1)), persist(2, payload(1), through=0))
    if how == "rotated":
        one.do(persist(3, through=1))
    else:
        one.do(Append(3, record(2)))
    if how == "renamed":
        (tmp_path / "data").rename(tmp_path / "other")
    else:
        shutil.rmtree(tmp_path / "data")
    if how == "replaced":
        slot.path.parent.mkdir(parents=True)
    (failed,) = one.do(Append(4, record(3)))
    assert failed == StorageFailure("the data directory was deleted or replaced")
    assert one.do(persist(5, payload(2), through=3, snapshot=b"all")) == [Stored()]
    assert one.do(Append(6, record(4)), LoadPayload(7, 1)) == [Stored(), PayloadBody(None)]
    assert Slots(tmp_path / "data").claim_orphan(0) is None  # it is locked again
    one.storage.close()
    slot.release()
    again = reopened(slot.path)
    assert (again.loaded.snapshot, again.records) == (b"all", [record(4)])
    assert [one.number for one in again.loaded.payloads] == [2]
    assert (again.storage.missing, again.storage.notices) == (0, [])


def test_slot_that_another_process_has_created_again_is_left_to_it(tmp_path: Path) -> None:
    slot = Slots(tmp_path / "data").claim()
    one = Open(slot.path)
    one.do(Append(1, record(1)))
    shutil.rmtree(tmp_path / "data")
    other = Slots(tmp_path / "data").claim()
    assert other.number == 0
    results = one.do(Append(2, record(2)), persist(3, through=2), Append(4, record(3)))
    assert [type(result) for result in results] == [StorageFailure] * 3
    assert isinstance(results[1], StorageFailure)
    assert "another process owns the slot" in results[1].reason
    one.storage.close()
    other.release()
    slot.release()


def test_slot_in_use_can_be_inspected(opened: Open, path: Path) -> None:
    assert inspect_slot(path).is_empty
    opened.do(Append(1, record(1)))
    assert inspect_slot(path).records == 1


class FailingCheckpoint:
    """A database whose write-ahead log cannot be checkpointed, as on a full disk."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(sql, *arguments)

    def __enter__(self) -> None:
        self._database.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._database.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def test_failed_checkpoint_of_the_write_ahead_log_keeps_the_records(
    opened: Open, path: Path
) -> None:
    opened.storage._database = FailingCheckpoint(opened.storage._database)  # type: ignore[assignment]
    opened.do(Append(1, record(1)))
    assert opened.do(persist(2, payload(1), through=1)) == [Stored()]
    assert opened.do(persist(3, payload(1), through=1)) == [Stored()]  # an attempt once more
    opened.storage.close()
    again = reopened(path)
    assert [one.number for one in again.loaded.payloads] == [1]
    assert again.records == []


def test_rewritten_storage_holds_no_byte_of_what_was_deleted(opened: Open, path: Path) -> None:
    body = b"viewer-to-be-forgotten" * 50
    payload = StoredPayload(1, "logs", (), body, len(body), 1, 1_000, False, "loki")
    opened.do(Persist(1, (b"snapshot",), (payload,), 0, (), 0, 10), Forget((1,)))
    opened.do(RewriteStorage(2), LoadPayload(3, 1))
    for file in path.parent.iterdir():
        assert b"viewer-to-be-forgotten" not in file.read_bytes(), file.name

"""The journal: records are read unchanged, whatever was damaged beside them."""

import errno
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.effects import Record
from openqoe.shells.storage.journal import PREFIX, Journal, count_records, frame_record

LINK = 28
"""Bytes of the link at the begin of a segment."""


def record(number: int, body: bytes | None = None) -> Record:
    return Record(number, 1000 + number, body or b"%d " % number * 40, None, b"%016d" % number)


records = st.lists(
    st.tuples(
        st.integers(0, 2**53),
        st.binary(max_size=2000),
        st.none() | st.text(max_size=5),
        st.binary(max_size=16),
        st.booleans(),
    ),
    max_size=20,
).map(lambda rows: [Record(number, *row) for number, row in enumerate(rows, 1)])


def write(folder: Path, written: Sequence[Record], *, together: int = 1) -> list[Path]:
    """Write records in groups; return the files."""
    journal = Journal(folder, sync=False)
    for begin in range(0, len(written), together):
        journal.append([frame_record(one) for one in written[begin : begin + together]])
    journal.close()
    return sorted(folder.glob(f"{PREFIX}*"))


@given(written=records, together=st.integers(1, 5))
def test_records_are_read_in_order(
    tmp_path_factory: pytest.TempPathFactory, written: list[Record], together: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, written, together=together)
    journal = Journal(folder, sync=False)
    assert list(journal.read(0)) == written
    assert journal.missing == 0
    assert journal.last == len(written)
    assert count_records(folder, 3) == max(0, len(written) - 3)


@given(data=st.data())
def test_damage_loses_only_the_damaged_record(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written = [record(number) for number in range(1, 8)]
    (file,) = write(folder, written)
    content = bytearray(file.read_bytes())
    size = (len(content) - LINK) // len(written)
    place = data.draw(st.integers(LINK, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    journal = Journal(folder, sync=False)
    found = list(journal.read(0))
    hit = (place - LINK) // size
    assert found == [one for index, one in enumerate(written) if index != hit]
    # A last record with a damaged length looks like a torn end.
    assert journal.missing == 1 or (hit == len(written) - 1 and journal.missing == 0)


@given(cut=st.integers(1, 500))
def test_torn_end_is_not_counted_as_damage(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written = [record(number) for number in range(1, 8)]
    (file,) = write(folder, written)
    content = file.read_bytes()
    size = (len(content) - LINK) // len(written)
    file.write_bytes(content[:-cut])
    journal = Journal(folder, sync=False)
    assert list(journal.read(0)) == written[: (len(content) - LINK - cut) // size]
    assert journal.missing == 0


def test_mark_inside_body_is_not_a_record(tmp_path: Path) -> None:
    inside = frame_record(record(9))[1]
    written = [record(1, inside), record(2)]  # small, so it is not packed
    (file,) = write(tmp_path, written)
    assert inside in file.read_bytes()
    assert list(Journal(tmp_path, sync=False).read(0)) == written


def test_trim_removes_covered_segments(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sync=False)
    for number in range(1, 7):
        journal.append([frame_record(record(number))])
        if number % 2 == 0:
            journal.rotate()
    journal.trim(3)
    assert [int(path.name.removeprefix(PREFIX)) for path in sorted(tmp_path.iterdir())] == [3, 5]
    assert [one.number for one in Journal(tmp_path, sync=False).read(3)] == [4, 5, 6]
    journal.trim(6)
    assert list(tmp_path.iterdir()) == []
    journal.append([frame_record(record(7))])
    assert journal.last == 7


def test_trim_keeps_current_segment(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sync=False)
    journal.append([frame_record(record(1))])
    journal.trim(1)
    journal.append([frame_record(record(2))])
    assert [one.number for one in Journal(tmp_path, sync=False).read(1)] == [2]


def test_new_process_begins_new_segment(tmp_path: Path) -> None:
    write(tmp_path, [record(1), record(2)])
    later = Journal(tmp_path, sync=True)
    later.append([frame_record(record(later.last + 1))])
    later.close()
    assert [one.number for one in Journal(tmp_path, sync=False).read(0)] == [1, 2, 3]


def test_number_of_unreadable_record_is_not_reused(tmp_path: Path) -> None:
    (file,) = write(tmp_path, [record(41)])
    file.write_bytes(b"\0" * 100)
    journal = Journal(tmp_path, sync=False)
    assert list(journal.read(0)) == []
    assert journal.missing == 1
    assert journal.last == 41


def filled_segments(folder: Path) -> list[Path]:
    """Write records 1 to 4, 5 to 8 and 9 to 12 into segments of their own."""
    journal = Journal(folder, sync=False)
    for number in range(1, 13):
        journal.append([frame_record(record(number))])
        if number % 4 == 0:
            journal.rotate()
    return sorted(folder.glob(f"{PREFIX}*"))


@pytest.mark.parametrize(
    ("segment", "keep", "missing"), [(0, 0, 4), (1, 0, 4), (1, 200, 3), (2, 0, 4), (2, 200, 3)]
)
def test_truncated_segment_is_noticed(
    tmp_path: Path, segment: int, keep: int, missing: int
) -> None:
    os.truncate(filled_segments(tmp_path)[segment], keep)
    journal = Journal(tmp_path, sync=False, stored=12)
    assert len(list(journal.read(0))) == 12 - missing
    assert journal.missing == missing


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_deleted_segment_is_noticed(tmp_path: Path, segment: int) -> None:
    filled_segments(tmp_path)[segment].unlink()
    journal = Journal(tmp_path, sync=False, stored=12)
    assert len(list(journal.read(0))) == 8
    assert journal.missing == 4


def test_records_covered_by_snapshot_are_not_missing(tmp_path: Path) -> None:
    segments = filled_segments(tmp_path)
    segments[0].unlink()
    journal = Journal(tmp_path, sync=False, stored=12)
    assert [one.number for one in journal.read(6)] == list(range(7, 13))
    assert journal.missing == 0


def test_segments_of_earlier_versions_have_no_link(tmp_path: Path) -> None:
    for segment in filled_segments(tmp_path):
        segment.write_bytes(segment.read_bytes()[LINK:])
    journal = Journal(tmp_path, sync=False)
    assert len(list(journal.read(0))) == 12
    assert journal.missing == 0


def test_foreign_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}of-the-operator").write_text("notes")
    journal = Journal(tmp_path, sync=False)
    journal.append([frame_record(record(1))])
    journal.close()
    journal.trim(1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}of-the-operator"]


@pytest.mark.parametrize("size", [0, 1])
def test_failed_write_leaves_no_record(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, sync=False)
    sound = [record(number) for number in range(1, 1 + size)]
    for one in sound:
        journal.append([frame_record(one)])

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fdatasync", fails)
    journal._sync = True
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            journal.append([frame_record(record(5)), frame_record(record(6))])
    monkeypatch.undo()
    journal.append([frame_record(record(7))])
    journal.close()
    again = Journal(tmp_path, sync=False)
    assert list(again.read(0)) == [*sound, record(7)]
    assert again.missing == 0


def test_partial_write_leaves_no_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sync=False)
    journal.append([frame_record(record(1))])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(OSError, match="only a part"):
            journal.append([frame_record(record(2, os.urandom(250)))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.append([frame_record(record(3))])
    journal.close()
    again = Journal(tmp_path, sync=False)
    assert list(again.read(0)) == [record(1), record(3)]
    assert again.missing == 0

"""Slots: each is owned by one process at a time."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openqoe.shells.storage import Slots, StorageError

HOLDER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from openqoe.shells.storage import Slots
slot = Slots(Path({directory!r})).claim()
print(slot.number, flush=True)
sys.stdin.read()
"""


def holder(directory: Path) -> "subprocess.Popen[str]":
    code = HOLDER.format(path=sys.path, directory=str(directory))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def number_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_claim_returns_lowest_free_slot(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "data")
    first, second, third = slots.claim(), slots.claim(), slots.claim()
    assert (first.number, second.number, third.number) == (0, 1, 2)
    second.release()
    assert slots.claim().number == 1
    assert slots.numbers() == (0, 1, 2)


def test_claim_orphan_needs_existing_slot_without_owner(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    assert slots.claim_orphan(0) is None
    slot = slots.claim()
    assert slots.claim_orphan(0) is None
    slot.release()
    slot.release()
    adopted = slots.claim_orphan(0)
    assert adopted is not None
    adopted.release()


def test_racing_processes_claim_different_slots_until_they_die(tmp_path: Path) -> None:
    processes = [holder(tmp_path) for _ in range(4)]
    try:
        assert sorted(number_of(process) for process in processes) == [0, 1, 2, 3]
        end(processes.pop())
        replacement = holder(tmp_path)
        processes.append(replacement)
        assert number_of(replacement) < 4
    finally:
        for process in processes:
            end(process)


def test_unusable_directory_is_named_in_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot use the data directory .*/file"):
        Slots(tmp_path / "file").claim()


def test_slot_whose_folder_was_replaced_is_not_intact(tmp_path: Path) -> None:
    slot = Slots(tmp_path).claim()
    assert slot.is_intact
    shutil.rmtree(tmp_path / "slot-0")
    assert not slot.is_intact
    successor = Slots(tmp_path).claim()
    assert (slot.is_intact, successor.is_intact) == (False, True)
    successor.release()
    assert not successor.is_intact
    slot.release()

"""Unused memory returns to the system."""

import platform
import subprocess
import sys

import pytest

FREED = """
from openqoe.shells.service.allocator import return_free_pages

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

blocks = [b"x" * 10_000 for _ in range(5_000)]
before = resident()
blocks = [block for number, block in enumerate(blocks) if not number % 100]  # free blocks between
free = resident()
return_free_pages()
print(before - free, before - resident())
"""

SCRIPT = """
from openqoe.shells.service.allocator import return_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if {changed}:
    return_large_blocks()
bytes(20_000_000)  # a large block comes and goes
before = resident()
large, small = [], []
for _ in range(100):
    large.append(b"x" * 1_000_000)
    small.append(b"x" * 50_000)
large.clear()
print(resident() - before)
"""


def kept(*, changed: bool, **environment: str) -> int:
    """Return the bytes a process keeps of 100 MB that lie between 5 MB in use."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(changed=changed)],
        capture_output=True,
        check=True,
        env=environment,
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc")
def test_freed_large_blocks_return_to_system() -> None:
    assert kept(changed=True) < 20_000_000
    assert kept(changed=False) > 50_000_000, "the allocator does so by itself"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc")
def test_malloc_settings_of_operator_are_kept() -> None:
    assert kept(changed=True, MALLOC_MMAP_THRESHOLD_=str(32 << 20)) > 50_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc")
def test_free_pages_return_to_system() -> None:
    run = subprocess.run([sys.executable, "-c", FREED], capture_output=True, check=True, env={})
    without, released = map(int, run.stdout.split())
    assert without < 10_000_000, "the allocator does so by itself"
    assert released > 40_000_000

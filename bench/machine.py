"""The machine that is measured on, and what processes use of it."""

import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

SPINNING = 5
"""s for which the machine's own hold-ups are looked for."""


def describe() -> dict[str, str]:
    """What it is, for a reader of the figures."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    disk = subprocess.run(
        ["stat", "-f", "-c", "%T", tempfile.gettempdir()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "file system": disk,
        "load before": f"{os.getloadavg()[0]:.1f}",
        "speed varies by": f"{_variation():.1f}",
        "less than half as fast": _slow_stretches(),
    }


def _variation() -> float:
    """How much longer the same loop takes at one time than at another, within a second: on a
    machine that is shared with others, by how much a figure may be off."""
    times = []
    for _ in range(20):
        begin = time.process_time()
        sum(range(2_000_000))
        times.append(time.process_time() - begin)
    return max(times) / min(times)


def _slow_stretches() -> str:
    """For how long a loop of about a ms took more than twice the CPU time that it mostly does, and
    the longest such stretch: so long an answer may take whatever the program."""
    times = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < SPINNING:
        before = time.process_time()
        sum(range(20_000))
        times.append(time.process_time() - before)
    usual = median(times)
    stretch = longest = slow = 0.0
    for spent in times:
        stretch = stretch + spent if spent > 2 * usual else 0.0
        slow += spent if spent > 2 * usual else 0.0
        longest = max(longest, stretch)
    return f"{slow * 1000:.0f} ms of {SPINNING} s, {longest * 1000:.0f} ms at a time"


def _processes(group: int) -> list[list[str]]:
    """The fields of /proc/…/stat of the processes of a process group, from the state on."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = status.read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        if int(fields[2]) == group:
            found.append(fields)
    return found


def cpu_seconds(group: int) -> float:
    """The CPU time that the processes of a process group have used."""
    return sum(int(fields[11]) + int(fields[12]) for fields in _processes(group)) / TICK


def stolen_seconds() -> float:
    """The CPU time that this machine was kept waiting for by others on the same hardware; 0 where
    it is not a virtual one (proc(5), ``steal``)."""
    _, *times = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(times[7]) / TICK


def memory(group: int) -> int:
    """Bytes that the processes of a process group have in memory."""
    return sum(int(fields[21]) * PAGE for fields in _processes(group))

"""The machine, its speed variation, and the resource usage of processes."""

import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

SPEED_TEST_SECONDS = 5
"""Duration of the search for slow periods of the machine."""


def describe() -> dict[str, str]:
    """Describe the machine for readers of the results."""
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
    """The ratio of the longest to the shortest run of the same loop within about a second: the
    possible error of a result on a shared machine."""
    times = []
    for _ in range(20):
        begin = time.process_time()
        sum(range(2_000_000))
        times.append(time.process_time() - begin)
    return max(times) / min(times)


def _slow_stretches() -> str:
    """The time in which a loop of about 1 ms takes more than twice its usual CPU time, and the
    longest such period: a lower bound of the maximum response time of any program."""
    times = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < SPEED_TEST_SECONDS:
        before = time.process_time()
        sum(range(20_000))
        times.append(time.process_time() - before)
    usual = median(times)
    stretch = longest = slow = 0.0
    for spent in times:
        stretch = stretch + spent if spent > 2 * usual else 0.0
        slow += spent if spent > 2 * usual else 0.0
        longest = max(longest, stretch)
    return f"{slow * 1000:.0f} ms of {SPEED_TEST_SECONDS} s, {longest * 1000:.0f} ms at a time"


def _processes(group: int) -> list[list[str]]:
    """The fields of /proc/…/stat from the state on, of each process in a process group."""
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
    """The CPU time of the processes in a process group."""
    return sum(int(fields[11]) + int(fields[12]) for fields in _processes(group)) / TICK


def stolen_seconds() -> float:
    """The CPU time that the hypervisor gave to other machines (proc(5), ``steal``); 0 on physical
    hardware."""
    _, *times = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(times[7]) / TICK


def memory(group: int) -> int:
    """The resident memory of the processes in a process group, in bytes."""
    return sum(int(fields[21]) * PAGE for fields in _processes(group))

"""Checks of this host for ``openqoe check``: the data directory, limits, the shared store."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.destination_probe import MAX_SKEW, TOLERATED_SKEW, Finding, Level
from openqoe.core.kv import ListRecent, Mark

from ..service.clock import now_ms
from ..service.extras import MissingExtraError, needs
from ..service.os_process import RESERVE
from ..storage import Slots, StorageError, inspect_slot
from ..stores.store_interface import StoreError
from ..stores.store_selection import uses_store

SERIES_BYTES: Final = 450
"""Approximate memory of one series, most of it for its encoded labels."""

VIEW_BYTES: Final = 1300
"""Approximate memory of one view."""

NETWORK_FILE_SYSTEMS: Final = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse.sshfs",
    "ceph",
    "glusterfs",
    "lustre",
)
"""Prefixes of file systems on which locks and WAL are not reliable."""

MIN_FREE_BYTES: Final = 256 << 20
"""Free bytes below which a data directory counts as full."""

MIN_REDIS: Final = (6, 0)


def check_data_directory(config: Config) -> Iterator[Finding]:
    """Whether the data directory is writable, local and has room, and the state of its slots."""
    if config.durability == "memory" and not config.is_embedded:
        yield Finding("ok", "data directory", "not used: OPENQOE_DURABILITY is memory")
        return
    path = Path(config.data_dir).absolute()
    subject = f"data directory {path}"
    existing = _nearest_existing(path)
    findings = tuple(_check_folder(existing, path, subject, "OPENQOE_DATA_DIR"))
    yield from findings
    if any(finding.level == "fail" for finding in findings):
        return
    yield _check_room(config, existing, subject)
    yield from _check_slots(path, subject)


def _nearest_existing(path: Path) -> Path:
    """A path, or the nearest of its parents that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def _check_folder(existing: Path, path: Path, subject: str, setting: str) -> Iterator[Finding]:
    """Whether a folder can be written, or created, and is on a local disk."""
    if not existing.is_dir():
        yield Finding("fail", subject, f"{existing} is not a directory", f"set {setting}")
        return
    try:
        with NamedTemporaryFile(dir=existing, prefix=".openqoe-check-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        advice = f"make it writable for the worker's user, or set {setting}"
        yield Finding("fail", subject, f"cannot write in {existing}: {error.strerror}", advice)
        return
    yield Finding(
        "ok", subject, "writable" if existing == path else f"can be created in {existing}"
    )
    system = file_system(existing)
    if system.startswith(NETWORK_FILE_SYSTEMS):
        advice = f"set {setting} to a local disk: locks and WAL need one"
        yield Finding("fail", subject, f"is on {system}, a network file system", advice)
    elif system in ("tmpfs", "ramfs"):
        advice = "acknowledged batches do not survive a restart of the host: use a disk"
        yield Finding("warn", subject, f"is on {system}, which is in memory", advice)


def _check_room(config: Config, path: Path, subject: str) -> Finding:
    free = shutil.disk_usage(path).free
    queues = (
        0
        if config.durability == "memory"
        else len(config.metrics_destinations + config.logs_destinations)
    )
    wanted = queues * config.outbox_max_bytes
    wanted += config.embedded_max_bytes if config.is_embedded else 0
    text = f"{_size(free)} free"
    if free < MIN_FREE_BYTES:
        return Finding(
            "fail",
            subject,
            f"only {text}",
            "free space: the worker refuses batches when the disk is full",
        )
    if free < wanted:
        advice = "lower OPENQOE_OUTBOX_MAX_BYTES or OPENQOE_EMBEDDED_MAX_BYTES, or free space"
        more = f"{text}, but the settings allow {_size(wanted)}"
        return Finding("warn", subject, more, advice)
    return Finding("ok", subject, text)


def _check_slots(path: Path, subject: str) -> Iterator[Finding]:
    slots = Slots(path)
    for number in slots.numbers():
        try:
            contents = inspect_slot(slots.database_path(number))
            owner = slots.claim_orphan(number)
        except StorageError as error:
            advice = "its worker moves it aside and recovers the intact records; see its log"
            yield Finding("warn", f"{subject}, slot {number}", str(error), advice)
            continue
        if owner is not None:
            owner.release()
        state = "orphaned" if owner is not None else "in use"
        waiting = sum(one.payloads for one in contents.pending)
        text = f"{state}, {contents.records} batches not flushed, {waiting} requests queued"
        if owner is not None and not contents.is_empty:
            advice = "the next worker delivers it, or run openqoe drain"
            yield Finding("warn", f"{subject}, slot {number}", text, advice)
        else:
            yield Finding("ok", f"{subject}, slot {number}", text)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds a path; "" if it is unknown."""
    best, kind = "", ""
    with suppress(OSError, UnicodeDecodeError):
        for line in mounts.read_text().splitlines():
            _, point, found, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            inside = path == Path(point) or Path(point) in path.resolve().parents
            if inside and len(point) >= len(best):
                best, kind = point, found
    return kind


def check_limits(config: Config) -> Iterator[Finding]:
    """Whether open files suffice for the connections, and memory for series and views."""
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY and config.max_connections + RESERVE > most:
            text = f"{most} allow {max(1, most - RESERVE)} connections; "
            text += f"OPENQOE_MAX_CONNECTIONS is {config.max_connections}"
            advice = "raise the limit (ulimit -Hn, LimitNOFILE= of systemd) or lower the setting"
            yield Finding("warn", "open files", text, advice)
        else:
            text = f"enough for {config.max_connections} connections"
            yield Finding("ok", "open files", text)
    memory = _memory()
    if memory is None:
        return
    needed = config.max_series * SERIES_BYTES + config.max_views * VIEW_BYTES
    text = (
        f"{_size(memory)}; a worker at its limits of series and views needs about {_size(needed)}"
    )
    if needed > memory * 0.8:
        advice = "lower OPENQOE_MAX_SERIES or OPENQOE_MAX_VIEWS, or add memory"
        yield Finding("warn", "memory", text, advice)
    else:
        yield Finding("ok", "memory", text)


def _memory() -> int | None:
    """Bytes of memory that the host, or the control group of this process, has."""
    amounts = []
    with suppress(OSError, ValueError, AttributeError):
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            amounts.append(int(Path(path).read_text()))
    return min(amounts, default=None)


def check_shared_store(config: Config) -> Iterator[Finding]:
    """The key-value store that the workers of several hosts share."""
    if uses_store(config):
        yield from _check_redis(config)


def _check_redis(config: Config) -> Iterator[Finding]:
    subject = "shared store: Redis"
    try:
        with needs("redis"):
            import redis

            from ..stores.redis_store import TIMEOUT, RedisStore
    except MissingExtraError as error:
        yield Finding("fail", subject, str(error), "install it, or set OPENQOE_KV_URL=none")
        return
    try:
        shared = RedisStore(config.kv_url, config.kv_prefix)
        try:
            # Reads and writes, and needs the scripts; leaves no key.
            shared.run((ListRecent("openqoe-check", 0), Mark("openqoe-check", (), 0, 1)))
        finally:
            shared.close()
    except StoreError as error:
        yield Finding("fail", subject, str(error), _redis_advice(str(error)))
        return
    with redis.Redis.from_url(config.kv_url, socket_timeout=TIMEOUT) as server:
        try:
            info = server.info()
            seconds, micros = server.time()
        except redis.RedisError as error:
            text = f"it works, but its version is unknown: {error}"
            yield Finding("warn", subject, text, "allow its user INFO and TIME")
            return
    version = str(info.get("valkey_version") or info.get("redis_version", ""))
    name = "Valkey" if "valkey_version" in info else "Redis"
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if name == "Redis" and parts < MIN_REDIS:
        text = f"{name} {version} is too old"
        yield Finding("fail", subject, text, "use Redis 6 or later, or Valkey")
    else:
        yield Finding("ok", subject, f"{name} {version} answers and runs scripts")
    policy = str(info.get("maxmemory_policy", ""))
    if info.get("maxmemory") and policy.startswith("allkeys"):
        text = (
            f"maxmemory-policy is {policy}: when it is full, it evicts shared state of the workers"
        )
        yield Finding("warn", subject, text, "use volatile-ttl or noeviction")
    skew = now_ms() - (seconds * 1000 + micros / 1000)
    if abs(skew) > TOLERATED_SKEW:
        text = f"its clock differs from this host's by {math.fabs(skew) / 1000:,.0f} s"
        level: Level = "fail" if abs(skew) > MAX_SKEW else "warn"
        yield Finding(level, subject, text, "synchronise the clocks by NTP")


def _redis_advice(reason: str) -> str:
    if any(word in reason for word in ("WRONGPASS", "NOAUTH", "uthentication", "password")):
        return "check user and password in OPENQOE_KV_URL"
    if "its user may not" in reason or "it is a" in reason:
        return "see docs/scaling.md"  # the reason says it
    return "is it running, and are host and port in OPENQOE_KV_URL right?"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"

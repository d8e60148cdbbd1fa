"""What ``openqoe check`` looks at on this host: the data directory, limits, the shared store."""

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
from openqoe.core.kv import ListRecent

from ..service.clock import now_ms
from ..service.extras import MissingExtraError, needs
from ..service.os_process import RESERVE
from ..storage import Slots, StorageError, inspect_slot
from ..stores.store_interface import StoreError
from ..stores.store_selection import store_file, store_kind

SERIES_BYTES: Final = 450
"""Memory of one series, about, most of it its labels as they go out."""

VIEW_BYTES: Final = 1300
"""Memory of one view, about."""

REMOTE: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre")
"""File systems, by the beginnings of their names, on which locks and WAL do not hold."""

LEAST_ROOM: Final = 256 << 20
"""Free bytes below which a data directory is as good as full."""

LEAST_REDIS: Final = (6, 0)


def directory(config: Config) -> Iterator[Finding]:
    """The data directory: there or to be made, writable, local, with room, and what is in it."""
    if config.durability == "memory" and not config.is_embedded:
        yield Finding("ok", "data directory", "none is used: OPENQOE_DURABILITY is memory")
        return
    path = Path(config.data_dir).absolute()
    subject = f"data directory {path}"
    there = _existing(path)
    findings = tuple(_folder(there, path, subject, "OPENQOE_DATA_DIR"))
    yield from findings
    if any(finding.level == "fail" for finding in findings):
        return
    yield _room(config, there, subject)
    yield from _slots(path, subject)


def _existing(path: Path) -> Path:
    """What is there of a path."""
    return next(one for one in (path, *path.parents) if one.exists())


def _folder(there: Path, path: Path, subject: str, setting: str) -> Iterator[Finding]:
    """Whether a folder, or what is there of it, can be written and is of the right kind."""
    if not there.is_dir():
        yield Finding("fail", subject, f"{there} is no directory", f"set {setting}")
        return
    try:
        with NamedTemporaryFile(dir=there, prefix=".openqoe-check-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        advice = f"give the worker's user the right to write there, or set {setting}"
        yield Finding("fail", subject, f"cannot write in {there}: {error.strerror}", advice)
        return
    yield Finding("ok", subject, "can be written" if there == path else f"can be made in {there}")
    system = file_system(there)
    if system.startswith(REMOTE):
        advice = f"set {setting} to a local disk: locks and WAL do not hold elsewhere"
        yield Finding("fail", subject, f"is on {system}, a network file system", advice)
    elif system in ("tmpfs", "ramfs"):
        advice = "what is acknowledged does not survive a restart of the host: use a disk"
        yield Finding("warn", subject, f"is on {system}, which is memory", advice)


def _room(config: Config, path: Path, subject: str) -> Finding:
    free = shutil.disk_usage(path).free
    queues = (
        0
        if config.durability == "memory"
        else len(config.metrics_destinations + config.logs_destinations)
    )
    wanted = queues * config.outbox_max_bytes
    wanted += config.embedded_max_bytes if config.is_embedded else 0
    text = f"{_size(free)} free"
    if free < LEAST_ROOM:
        return Finding("fail", subject, f"only {text}", "make room: a full disk refuses batches")
    if free < wanted:
        advice = "lower OPENQOE_OUTBOX_MAX_BYTES or OPENQOE_EMBEDDED_MAX_BYTES, or make room"
        more = f"{text}, and the settings allow it to grow to {_size(wanted)}"
        return Finding("warn", subject, more, advice)
    return Finding("ok", subject, text)


def _slots(path: Path, subject: str) -> Iterator[Finding]:
    slots = Slots(path)
    for number in slots.numbers():
        try:
            contents = inspect_slot(slots.database_path(number))
            owner = slots.claim_orphan(number)
        except StorageError as error:
            advice = "its worker sets it aside and saves what is sound; see its log"
            yield Finding("warn", f"{subject}, slot {number}", str(error), advice)
            continue
        if owner is not None:
            owner.release()
        state = "left behind" if owner is not None else "in use"
        waiting = sum(one.payloads for one in contents.pending)
        text = f"{state}, {contents.records} batches not flushed, {waiting} requests wait"
        if owner is not None and not contents.is_empty:
            advice = "the next worker delivers it, or openqoe drain"
            yield Finding("warn", f"{subject}, slot {number}", text, advice)
        else:
            yield Finding("ok", f"{subject}, slot {number}", text)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds a path; "" where nothing tells."""
    best, kind = "", ""
    with suppress(OSError, UnicodeDecodeError):
        for line in mounts.read_text().splitlines():
            _, point, found, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            inside = path == Path(point) or Path(point) in path.resolve().parents
            if inside and len(point) >= len(best):
                best, kind = point, found
    return kind


def limits(config: Config) -> Iterator[Finding]:
    """Open files against connections, memory against series and views."""
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY and config.max_connections + RESERVE > most:
            text = f"{most} allow {max(1, most - RESERVE)} connections, not the "
            text += f"{config.max_connections} of OPENQOE_MAX_CONNECTIONS"
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
        f"{_size(memory)}; at the limits of series and views a worker takes about {_size(needed)}"
    )
    if needed > memory * 0.8:
        advice = "lower OPENQOE_MAX_SERIES or OPENQOE_MAX_VIEWS, or give it more"
        yield Finding("warn", "memory", text, advice)
    else:
        yield Finding("ok", "memory", text)


def _memory() -> int | None:
    """Bytes that this process may have: of the host, or of its control group."""
    amounts = []
    with suppress(OSError, ValueError, AttributeError):
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            amounts.append(int(Path(path).read_text()))
    return min(amounts, default=None)


def store(config: Config) -> Iterator[Finding]:
    """What several workers share."""
    kind = store_kind(config, several=True)
    if kind == "redis":
        yield from _redis(config)
    elif kind == "sqlite" and config.kv_url.startswith("sqlite:"):
        folder = store_file(config).absolute().parent
        subject = f"shared store {folder}"
        yield from _folder(_existing(folder), folder, subject, "OPENQOE_KV_URL")
    elif kind == "memory" and config.kv_url != "auto":
        yield Finding("ok", "shared store", "none: each worker counts for itself")


def _redis(config: Config) -> Iterator[Finding]:
    subject = "shared store: Redis"
    try:
        with needs("redis"):
            import redis

            from ..stores.redis_store import TIMEOUT, RedisStore
    except MissingExtraError as error:
        yield Finding("fail", subject, str(error), "install it, or set OPENQOE_KV_URL=memory")
        return
    try:
        shared = RedisStore(config.kv_url, config.kv_prefix)
        try:
            shared.run((ListRecent("openqoe-check", 0),))  # reads, and needs the scripts
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
            text = f"it works, but does not say what it is: {error}"
            yield Finding("warn", subject, text, "allow INFO and TIME to its user")
            return
    version = str(info.get("valkey_version") or info.get("redis_version", ""))
    name = "Valkey" if "valkey_version" in info else "Redis"
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if name == "Redis" and parts < LEAST_REDIS:
        text = f"{name} {version} is too old"
        yield Finding("fail", subject, text, "use Redis 6 or later, or Valkey")
    else:
        yield Finding("ok", subject, f"{name} {version} answers and runs scripts")
    policy = str(info.get("maxmemory_policy", ""))
    if info.get("maxmemory") and policy.startswith("allkeys"):
        text = (
            f"maxmemory-policy is {policy}: it throws away what workers agreed on when it is full"
        )
        yield Finding("warn", subject, text, "use volatile-ttl or noeviction")
    skew = now_ms() - (seconds * 1000 + micros / 1000)
    if abs(skew) > TOLERATED_SKEW:
        text = f"this clock differs from its by {math.fabs(skew) / 1000:,.0f} s"
        level: Level = "fail" if abs(skew) > MAX_SKEW else "warn"
        yield Finding(level, subject, text, "synchronize the clocks by NTP")


def _redis_advice(reason: str) -> str:
    if any(word in reason for word in ("WRONGPASS", "NOAUTH", "uthentication", "password")):
        return "check user and password in OPENQOE_KV_URL"
    if "NOPERM" in reason:
        return "allow its user EVALSHA, SCRIPT LOAD and the keys of OPENQOE_KV_PREFIX"
    return "is it running, and are host and port in OPENQOE_KV_URL right?"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"

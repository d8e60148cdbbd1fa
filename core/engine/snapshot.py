"""The snapshot: the state of a worker as bytes.

Theory of operation. Each component with a state returns it as a small struct (``capture_state``)
and restores it (``restore_state``); this module encodes all of them together. A restored worker
continues exactly: the same calls lead to the same series, labels and totals.

A snapshot does not hold the journal and the outbox beside it, nor log entries: it is captured right
after a flush, so none waits. Nor does it hold caches. Computing labels again may increase the
counters of folded and shortened values once more, and a folded value may have been admitted
meanwhile. The same happens once an hour in any worker; no event is counted twice or lost by it. A
restored worker publishes all admitted values to the shared store again, because the store may have
ended with the process.

The bytes begin with a mark, the version of the format and a checksum. Label sets are numbered in
one table, and metrics are identified by name and type. So the next version of the worker can read
them, and drops the series of metrics that it does not know.

A snapshot that cannot be used is rejected as a whole: a partial state would count wrong.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from ..access.key_limits import QuotaState
from ..cluster.coordinator import CoordinatorState
from ..delivery.queue_status import DeliveryQueueState
from ..governance.dimension import DimensionState
from ..metrics.label_table import LabelTableState
from ..metrics.registry import RegistryState
from ..primitives.incremental import IncrementalWork
from ..primitives.msgpack_stream import MsgpackStream
from ..qoe.labeller import LabellerState
from ..qoe.recorder import RecorderState
from ..sinks.series_exporter import ExporterState
from . import snapshot_upgrade
from .export import ExportState

MARK = b"OQOE"
VERSION = 2
UPGRADED_VERSION = 1
"""The earlier format that can be read (``snapshot_upgrade``)."""
_HEAD = len(MARK) + 2 + 4

PIECE = 16 * 1024
"""Bytes that are compressed at a time."""

BYTES_A_UNIT = 256
"""Bytes whose compression is a unit of work."""


class SnapshotError(ValueError):
    """Bytes that are no snapshot, or none that this version can read."""


class Snapshot(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The state of a worker.

    Attributes:
        labels: The label sets, which the other fields reference by number.
        qoe: The series of the QoE metrics.
        health: The series of the worker's own health.
        exporters: The series that both exporters have sent.
        recorder: The views.
        dimensions: Admitted values by dimension.
        governance_faults: Values on which governance failed so far.
        labeller: Counters of the labeller, and when its cache began.
        logs_adjusted: Log entries adjusted so far, by reason.
        batches_forgotten: Batches evicted early from the deduplication window so far.
        queues: Counters and state of the delivery queues, by destination.
        export: What the exporter sent, and which destinations inherit payloads.
        flushed_at: When the flush timer was started last.
        noticed: Limits that a notice was given for.
        is_dirty: Whether events came in since the latest flush.
        coordinator: State of the coordinator; None if no store is shared.
        log_streams: When the live log streams were scanned, and when each last had an entry.
        quotas: Use of the quotas of keys.
    """

    labels: LabelTableState
    qoe: RegistryState
    health: RegistryState
    exporters: tuple[ExporterState, ...]
    recorder: RecorderState
    dimensions: dict[str, DimensionState]
    governance_faults: int
    labeller: LabellerState
    logs_adjusted: dict[str, int]
    batches_forgotten: int
    queues: dict[str, DeliveryQueueState]
    export: ExportState
    flushed_at: int | None
    noticed: list[str]
    is_dirty: bool
    coordinator: CoordinatorState | None = None
    log_streams: tuple[int, dict[str, int]] = (0, {})
    quotas: QuotaState = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Snapshot).decode


def encode(snapshot: Snapshot) -> IncrementalWork[tuple[bytes, ...]]:
    """Encode a snapshot in pieces.

    For a million views they are 50 MB, and joining them would itself cause a pause. The encoding
    consumes the packed lists in the snapshot.
    """
    compressor = zlib.compressobj(1)
    crc = 0  # piece by piece: at once it would need tens of ms for a million views
    pieces = [b""]  # the head, which comes last
    for part in _parts(snapshot):
        with memoryview(part) as plain:
            for begin in range(0, len(plain), PIECE):
                piece = compressor.compress(plain[begin : begin + PIECE])
                if piece:  # the compressor buffers
                    pieces.append(piece)
                    crc = zlib.crc32(piece, crc)
                yield min(len(plain), PIECE) // BYTES_A_UNIT
    pieces.append(compressor.flush())
    crc = zlib.crc32(pieces[-1], crc)
    pieces[0] = MARK + VERSION.to_bytes(2, "big") + crc.to_bytes(4, "big")
    return tuple(pieces)


def _parts(value: Any) -> Iterator[bytes]:
    """Yield the msgpack encoding of a value in parts.

    Large lists are encoded already and are not copied: they may have hundreds of MB.
    """
    if isinstance(value, MsgpackStream):
        yield from value.drain_blocks()
    elif isinstance(value, msgspec.Struct | tuple):
        members = msgspec.structs.astuple(value) if isinstance(value, msgspec.Struct) else value
        yield b"\xdc" + len(members).to_bytes(2, "big")  # msgpack's list
        for member in members:
            yield from _parts(member)
    elif isinstance(value, dict):
        yield b"\xdf" + len(value).to_bytes(4, "big")  # its dictionary
        for key, member in value.items():
            yield _encode(key)
            yield from _parts(member)
    else:
        yield _encode(value)


def decode(blob: bytes) -> Snapshot:
    """Decode a snapshot.

    Raises:
        SnapshotError: They are damaged, of a newer version, or something else.
    """
    if blob[: len(MARK)] != MARK or len(blob) < _HEAD:
        raise SnapshotError("it is not a snapshot of a worker")
    version = int.from_bytes(blob[len(MARK) : len(MARK) + 2], "big")
    body = blob[_HEAD:]
    if zlib.crc32(body) != int.from_bytes(blob[len(MARK) + 2 : _HEAD], "big"):
        raise SnapshotError("it is damaged (wrong checksum)")
    if version not in (VERSION, UPGRADED_VERSION):
        raise SnapshotError(f"it has format {version}, this version reads format {VERSION}")
    try:
        plain = zlib.decompress(body)
        if version == VERSION:
            return _decode(plain)
        state = msgspec.msgpack.decode(plain)
        snapshot_upgrade.upgrade(state)
        return msgspec.convert(state, Snapshot)
    except (zlib.error, msgspec.DecodeError, LookupError, TypeError) as error:
        raise SnapshotError(f"it cannot be read ({error})") from None

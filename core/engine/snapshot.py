"""The snapshot: the state of a worker as bytes.

Theory of operation. Each part of the worker that has a state gives it as a small struct
(``state``) and takes one back (``restore``); here they are put together and made into
bytes. A worker that is restored goes on as the one that was interrupted: the same calls
lead to the same series, labels and totals.

Not part of it is what is in the journal and the outbox beside it, nor log entries: a snapshot
is taken right after a flush, so none waits. Nor are caches. To work labels out again may make
the counters of folded and shortened values grow once more, and a value that was folded may
have got a place in the meantime; the same happens once an hour in any worker, and no event is
counted twice or lost by it. The shared store is told again of all that was admitted, because
it may have ended with the process.

The bytes begin with a mark, the version of the format and a checksum. Labels stand in one
table and are numbers elsewhere; metrics are found by name and type. So the next version of the
worker can read them, and leaves out the series whose metrics it does not know.

A snapshot that cannot be used is refused as a whole: half a state would count wrong.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

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
from .export import ExportState

MARK = b"OQOE"
VERSION = 1
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
        labels: The label sets, which the other parts name by number.
        qoe: The series of the QoE metrics.
        health: The series of the worker's own health.
        exporters: What the exports of both have sent.
        meter: The views.
        dimensions: What governance has admitted, by dimension.
        governance_faults: Values on which governance failed so far.
        labeller: What the labeller has counted, and its clock.
        logs_adjusted: Log entries put right so far, by reason.
        batches_forgotten: Batches that left the window of duplicates early so far.
        queues: What has become of payloads so far, by destination.
        outflow: What else flushes go by.
        flushed_at: When the flush timer was started last.
        noticed: LimitNotifier of which the operator has been told.
        is_dirty: Whether events came in since the latest flush.
        sharing: What the exchange with the shared store knows; None if there is no store.
    """

    labels: LabelTableState
    qoe: RegistryState
    health: RegistryState
    exporters: tuple[ExporterState, ...]
    meter: RecorderState
    dimensions: dict[str, DimensionState]
    governance_faults: int
    labeller: LabellerState
    logs_adjusted: dict[str, int]
    batches_forgotten: int
    queues: dict[str, DeliveryQueueState]
    outflow: ExportState
    flushed_at: int | None
    noticed: list[str]
    is_dirty: bool
    sharing: CoordinatorState | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Snapshot).decode


def encode(snapshot: Snapshot) -> IncrementalWork[tuple[bytes, ...]]:
    """A snapshot as bytes, in pieces: of a million views they are 50 MB, and to join them is a
    hold of its own. What is packed in the snapshot is gone afterwards."""
    compressor = zlib.compressobj(1)
    crc = 0  # piece by piece: of a million views' state it takes tens of ms
    pieces = [b""]  # the head, which comes last
    for part in _parts(snapshot):
        with memoryview(part) as plain:
            for begin in range(0, len(plain), PIECE):
                piece = compressor.compress(plain[begin : begin + PIECE])
                if piece:  # it gathers some before it gives any
                    pieces.append(piece)
                    crc = zlib.crc32(piece, crc)
                yield min(len(plain), PIECE) // BYTES_A_UNIT
    pieces.append(compressor.flush())
    crc = zlib.crc32(pieces[-1], crc)
    pieces[0] = MARK + VERSION.to_bytes(2, "big") + crc.to_bytes(4, "big")
    return tuple(pieces)


def _parts(value: Any) -> Iterator[bytes]:
    """The bytes of a value, one part after the other. What is large is packed already, and is
    not copied: there may be hundreds of MB."""
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
    """A snapshot from bytes.

    Raises:
        SnapshotError: They are damaged, of a newer version, or something else.
    """
    if blob[: len(MARK)] != MARK or len(blob) < _HEAD:
        raise SnapshotError("it is not a snapshot of a worker")
    version = int.from_bytes(blob[len(MARK) : len(MARK) + 2], "big")
    body = blob[_HEAD:]
    if zlib.crc32(body) != int.from_bytes(blob[len(MARK) + 2 : _HEAD], "big"):
        raise SnapshotError("it is damaged (wrong checksum)")
    if version != VERSION:
        raise SnapshotError(f"it has format {version}, this version reads format {VERSION}")
    try:
        return _decode(zlib.decompress(body))
    except (zlib.error, msgspec.DecodeError) as error:
        raise SnapshotError(f"it cannot be read ({error})") from None

"""The log of a view: how several workers share the state of one view.

Theory of operation. What an event means depends on what its view did before: a heartbeat's total
counts by its increase, a stall is rebuffering unless a seek explains it. When the batches of a view
reach several workers, none of them sees all of it. So each worker appends the events it receives to
the view's log in the shared store, and reads the entries of the others. The store orders the
entries, and every worker applies them in that order, so all have the same state at the same
position of the log. A worker counts only what its own entries make observable, so everything is
counted once, by the worker that received it.

An entry holds the events of one view from one batch, or a time-out: a pending stall stayed
unexplained ("resolve"), or the view has ended ("expire"). Its id is that of its batch, so a batch
that was sent to two workers is one entry.

While the store is away a worker applies its batches alone, and appends them to the log afterwards
("alone"). It did not know the pending stalls of the others, so at such an entry each of them
resolves its own.

A log would grow as long as its view lives. When it has become long, a worker replaces its beginning
by a summary of the view's state (``Summarize``). The latest entries stay for a worker that crashed:
it applies its own entries again from the position of its snapshot.
"""

from collections.abc import Callable, MutableMapping, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

from ..events.cmcd_record import CmcdEvent
from ..events.event_types import Event
from ..kv import Tail
from ..qoe import playback
from ..qoe.cmcd_history import RecordTrace
from ..qoe.signals import Signal
from ..qoe.sources import cmcd, signals_of
from ..qoe.view import View, ViewKey, ViewState, capture_view_state

Action = Callable[[View], None]

LONG = 32
"""Entries of a log after which its beginning is replaced by a summary."""

KEPT = 16
"""Latest entries that stay all the same: two to three minutes of heartbeats."""


class Slice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The content of an entry.

    Attributes:
        what: What happened to the view.
        signals: What the events of a batch say.
        at: When the batch arrived, ms.
        records: What the view keeps of its CMCD records.
    """

    what: Literal["events", "alone", "resolve", "expire"]
    signals: tuple[Signal, ...] = ()
    at: int = 0
    records: tuple[RecordTrace, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Slice).decode
_decode_state = msgspec.msgpack.Decoder(ViewState).decode

RESOLVE = _encode(Slice("resolve"))
EXPIRE = _encode(Slice("expire"))


def log_key(key: ViewKey) -> str:
    """Return the key of a view's log."""
    return f"playback:{view_id(key)}"


def view_id(key: ViewKey) -> str:
    """Return a short name of a view, the same in every worker."""
    return blake2b(_encode(key), digest_size=12).hexdigest()


def encode_events(events: Sequence[Event], at: int) -> bytes:
    """Encode the events of one view in a batch.

    Args:
        events: Events of one view.
        at: When the batch arrived, ms.
    """
    signals = tuple(signal for event in events for signal in signals_of(event))
    records = tuple(cmcd.trace_of(event) for event in events if isinstance(event, CmcdEvent))
    return _encode(Slice("events", signals, at, records))


def as_alone(data: bytes) -> bytes:
    """Return the same entry, marked as applied without the log."""
    return _encode(msgspec.structs.replace(_decode(data), what="alone"))


def apply_entry(view: View, data: bytes, decide: Action) -> None:
    """Apply an entry of another worker to a view, without counting anything.

    Args:
        view: The view.
        data: The content of the entry.
        decide: Resolves what is pending, and counts it if it began here.
    """
    entry = _decode(data)
    match entry.what:
        case "resolve":
            playback.apply_waiting(view, None)
        case "expire":
            playback.end_view(view)
        case "alone":
            decide(view)
    for record in entry.records:
        cmcd.note_record(record, view)
    playback.apply_signals(view, entry.signals, entry.at, entry.at)


def catch_up(
    view: View,
    tail: Tail,
    own: MutableMapping[bytes, Action],
    by: str,
    decide: Action,
    *,
    is_new: bool,
) -> bool:
    """Apply the end of its log to a view.

    Args:
        view: The view.
        tail: The end of its log.
        own: Actions for this worker's entries that were not applied yet, by id. Those that are
            applied are removed.
        by: This worker's name.
        decide: See ``apply_entry``.
        is_new: Whether the log is all that this worker knows of the view.

    Returns:
        Whether the summary replaced the state that this worker had.
    """
    is_replaced = False
    # Two tails of one update begin at the same position.
    if tail.summary is not None and view.log_position < tail.start:
        state = _decode_state(tail.summary)
        # If a log was lost, the state that includes more entries is the better one.
        if is_new or view.log_position or state.entries_applied > view.entries_applied:
            view.load_state(state)
            is_replaced = True
    view.log_position = max(view.log_position, tail.start)
    for place, entry in enumerate(tail.entries, tail.start + 1):
        if place <= view.log_position:
            continue
        action = own.pop(entry.id, None) if entry.by == by else None
        if action is None:
            apply_entry(view, entry.data, decide)
        else:
            action(view)
        view.log_position = place
        view.entries_applied += 1
    return is_replaced


def summarize_view(view: View) -> bytes:
    """Return the state of a view, as a summary of its log so far.

    The details stay here: ids of viewers are no business of the store.
    """
    return _encode(capture_view_state(view)[:-1])

"""The log of a view: how several workers follow one view together.

Theory of operation. What an event means depends on what its view did before: a heartbeat's
total counts by its increase, a stall is rebuffering unless a seek explains it. When the
batches of a view reach several workers, none of them sees all of it. So each writes what it
receives into the view's log in the shared store, and reads what the others have written. The
store puts the entries in one order, and every worker follows them in that order: all have the
same state at the same place of the log. A worker counts what follows from its own entries,
and nothing of the others': so everything is counted once, by whoever received it.

An entry is a slice of a batch (the events of one view), or says that the view waited in vain
for an explanation ("settle") or has ended ("expire"). Its id is that of its batch, so a batch
that is sent to two workers is one entry.

While the store is away a worker counts its batches without the log, and writes them there
afterwards ("alone"). It did not know what the others wait for an explanation of, so that will
not come: at such an entry they decide it, each for what it has seen begin.

A log would grow as long as its view lives. When it has become long, a worker writes down its
state in place of the beginning (``Summarize``). The latest entries stay all the same, for a
worker that crashed: it follows its own entries once more from where its snapshot was.
"""

from collections.abc import Callable, Iterable, MutableMapping
from hashlib import blake2b
from typing import Literal

import msgspec

from ..events.event_types import Data, Event, Player
from ..kv import Tail
from ..qoe import playback
from ..qoe.view import View, ViewKey, ViewState, as_text, capture_view_state

Action = Callable[[View], None]

LONG = 32
"""Entries of a log that are kept before it is summed up."""

KEPT = 16
"""Entries that stay even then: two to three minutes of heartbeats."""


class LoggedEvent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a view looks at of an event."""

    event_type: str
    event_time: int | float
    playback_time: float | None
    player: str | None
    data: Data | None


class Slice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an entry says."""

    what: Literal["events", "alone", "settle", "expire"]
    events: tuple[LoggedEvent, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Slice).decode
_decode_state = msgspec.msgpack.Decoder(ViewState).decode

SETTLE = _encode(Slice("settle"))
EXPIRE = _encode(Slice("expire"))


def log_key(key: ViewKey) -> str:
    """The name of a view's log."""
    return f"view:{view_id(key)}"


def view_id(key: ViewKey) -> str:
    """A short name of a view, the same in every worker."""
    return blake2b(_encode(key), digest_size=12).hexdigest()


def encode_events(events: Iterable[Event], player: str | None) -> bytes:
    """The slice of a batch.

    Args:
        events: Events of one view.
        player: The name of its player.
    """
    told = [
        LoggedEvent(event.event_type, event.event_time, event.playback_time, player, _data(event))
        for event in events
    ]
    return _encode(Slice("events", tuple(told)))


def as_alone(data: bytes) -> bytes:
    """The same slice, counted without the log."""
    return _encode(msgspec.structs.replace(_decode(data), what="alone"))


def _data(event: Event) -> Data | None:
    data = event.data
    if data is None or playback.rule_for(event.event_type).kind not in playback.KINDS_USING_DATA:
        return None
    # JSON has larger numbers than msgpack; where a text may stand, they are one.
    if isinstance(data.media_type, int) or isinstance(data.trigger, int):
        media_type, trigger = as_text(data.media_type), as_text(data.trigger)
        data = msgspec.structs.replace(data, media_type=media_type, trigger=trigger)
    if data.error_code is not None or data.error_family is not None or data.error_context:
        data = msgspec.structs.replace(data, error_code=None, error_family=None, error_context=None)
    return data


def follow(view: View, data: bytes, decide: Action) -> None:
    """Let a view follow an entry of another worker, of which nothing is counted here.

    Args:
        view: The view.
        data: What the entry says.
        decide: Decides what waits for an explanation, and counts it if it began here.
    """
    told = _decode(data)
    match told.what:
        case "settle":
            playback.resolve_pending(view)
        case "expire":
            playback.expire_view(view)
        case "alone":
            decide(view)
    for one in told.events:
        playback.apply_event(view, _event(one), playback.rule_for(one.event_type))


def _event(told: LoggedEvent) -> Event:
    return Event(
        told.event_type,
        told.event_time,
        told.event_time,
        *("", "", "", "", ""),
        playback_time=told.playback_time,
        player=None if told.player is None else Player(told.player),
        data=told.data,
    )


def catch_up(
    view: View,
    tail: Tail,
    own: MutableMapping[bytes, Action],
    by: str,
    decide: Action,
    *,
    is_new: bool,
) -> bool:
    """Let a view follow the end of its log.

    Args:
        view: The view.
        tail: The end of its log.
        own: What is to be done at the entries of this worker that have not been followed
            yet, by their id. Those that are met are taken out.
        by: This worker's name.
        decide: See ``follow``.
        is_new: Whether nothing is known of the view here but what the log says.

    Returns:
        Whether what was known here was given up for the summary.
    """
    is_given_up = False
    # Of two tails that were asked for at once, the second begins where the first did.
    if tail.summary is not None and view.log_position < tail.start:
        state = _decode_state(tail.summary)
        # If a log was lost, the one who had read more of it knows more.
        if is_new or view.log_position or state.entries_applied > view.entries_applied:
            view.load_state(state)
            is_given_up = True
    view.log_position = max(view.log_position, tail.start)
    for place, entry in enumerate(tail.entries, tail.start + 1):
        if place <= view.log_position:
            continue
        action = own.pop(entry.id, None) if entry.by == by else None
        if action is None:
            follow(view, entry.data, decide)
        else:
            action(view)
        view.log_position = place
        view.entries_applied += 1
    return is_given_up


def summary(view: View) -> bytes:
    """The state of a view, to stand for its log so far."""
    return _encode(capture_view_state(view))

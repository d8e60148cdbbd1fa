"""Compact form of ended views: most known views have ended, and few come back.

A live view takes 1 KB, a compact one half of that, most of it its id. Ended views are retained for
a day, live ones for half an hour of silence.
"""

from typing import Final

import msgspec

from ..metrics.series import Labels
from .view import View, ViewKey, ViewState, capture_view_state

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ViewState).decode

_STATE_HEADER: Final = bytes([0x90 + len(ViewState.__struct_fields__)])
"""The msgpack header of an encoded state: an array of less than 16 members."""


class EndedView(msgspec.Struct, frozen=True, gc=False, eq=False):
    """An ended view, stored under its key.

    Attributes:
        labels: Base labels of its latest event.
        last_seen: Arrival of its latest event, ms.
        rest: Its state encoded as in a snapshot, without header and key.
    """

    labels: Labels
    last_seen: int
    rest: bytes


def compact(view: View | ViewState, labels: Labels) -> EndedView:
    """Compacts a view."""
    if isinstance(view, ViewState):
        view = View.from_state(view, labels)
    state = _encode(capture_view_state(view))
    return EndedView(labels, view.last_seen, state[len(_STATE_HEADER) + len(_encode(view.key)) :])


def encoded_state(key: ViewKey, ended: View | EndedView) -> object:
    """The state of a view as a snapshot encodes it."""
    if isinstance(ended, View):
        return capture_view_state(ended)
    return msgspec.Raw(_join_state(key, ended))


def expand(key: ViewKey, ended: View | EndedView) -> View:
    """Restores the view."""
    if isinstance(ended, View):
        return ended
    return View.from_state(_decode(_join_state(key, ended)), ended.labels)


def _join_state(key: ViewKey, ended: EndedView) -> bytes:
    return _STATE_HEADER + _encode(key) + ended.rest

"""Views that have ended, folded: most of those that are remembered have, and few come back.

A view that lives takes a kilobyte, one that is folded half of that, most of it its id. A day's
views are remembered, half an hour's live.
"""

from typing import Final

import msgspec

from .view import Labels, View, ViewKey, ViewState, capture_view_state

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ViewState).decode

_STATE_HEADER: Final = b"\xdc" + len(ViewState.__struct_fields__).to_bytes(2, "big")
"""How msgpack begins a state."""


class EndedView(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A view that has ended; its key stands elsewhere.

    Attributes:
        labels: Base labels of its latest event.
        last_seen: Arrival of its latest event, ms.
        rest: Its state as it is encoded for a snapshot, from behind its key on.
    """

    labels: Labels
    last_seen: int
    rest: bytes


def compact(view: View | ViewState, labels: Labels) -> EndedView:
    """Fold a view."""
    state = _encode(view if isinstance(view, ViewState) else capture_view_state(view))
    return EndedView(labels, view.last_seen, state[len(_STATE_HEADER) + len(_encode(view.key)) :])


def encoded_state(key: ViewKey, ended: View | EndedView) -> object:
    """What is encoded for a snapshot as the state of a view, folded or not."""
    if isinstance(ended, View):
        return capture_view_state(ended)
    return msgspec.Raw(_join_state(key, ended))


def expand(key: ViewKey, ended: View | EndedView) -> View:
    """The view as it was."""
    if isinstance(ended, View):
        return ended
    return View.from_state(_decode(_join_state(key, ended)), ended.labels)


def _join_state(key: ViewKey, ended: EndedView) -> bytes:
    return _STATE_HEADER + _encode(key) + ended.rest

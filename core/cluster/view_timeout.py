"""Lapses: time has passed for a view, which its log should say."""

from typing import NamedTuple

from ..kv import Entry, Extend
from ..qoe import playback
from ..qoe.observation import Observation
from ..qoe.view import View, ViewKey
from . import view_log


class ViewTimeoutState(NamedTuple):
    """A lapse in a snapshot.

    Attributes:
        view: The view.
        is_end: Whether the view has ended; else nothing explains its stall any more.
        at: When time had passed, ms.
        is_counted: Whether it has been counted without the store.
    """

    view: ViewKey
    is_end: bool
    at: int
    is_counted: bool


class ViewTimeout:
    """Nothing explains a view's stall any more, or the view has ended.

    Attributes:
        view: The view.
        is_end: Whether it has ended.
        at: When time had passed, ms.
        is_counted: Whether it has been counted without the store.
    """

    __slots__ = ("_known", "at", "is_counted", "is_end", "view")

    def __init__(self, view: View, at: int, *, is_end: bool, is_counted: bool = False) -> None:
        self.view = view
        self.is_end = is_end
        self.at = at
        self.is_counted = is_counted
        self._known = 0  # entries of the log when the store was asked

    @property
    def id(self) -> bytes:
        """The id of its entry, as the store was asked for it last."""
        return b"%s %d" % (b"expire" if self.is_end else b"settle", self._known)

    def operation(self, by: str, lifetime: int) -> Extend:
        """Say it in the view's log, if nothing has come of the view in the meantime.

        Args:
            by: This worker's name.
            lifetime: ms for which the log is kept.
        """
        known = self._known = self.view.log_position
        entry = Entry(self.id, by, view_log.EXPIRE if self.is_end else view_log.SETTLE)
        return Extend(view_log.log_key(self.view.key), entry, known, known, lifetime)

    def moments(self) -> list[Observation]:
        """What follows from it for the view."""
        return (
            playback.expire_view(self.view) if self.is_end else playback.resolve_pending(self.view)
        )

    def state(self) -> ViewTimeoutState:
        """It in a snapshot."""
        return ViewTimeoutState(self.view.key, self.is_end, self.at, self.is_counted)

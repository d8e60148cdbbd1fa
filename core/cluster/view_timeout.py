"""Time-out entries of a view's shared log: a stall stayed unexplained, or the view has ended."""

from typing import NamedTuple

from ..kv import Entry, Extend
from ..qoe import playback
from ..qoe.observation import Observation
from ..qoe.view import View, ViewKey
from . import view_log


class ViewTimeoutState(NamedTuple):
    """A time-out in a snapshot.

    Attributes:
        view: The view.
        is_end: Whether the view has ended; otherwise its stall stayed unexplained.
        at: When the time-out occurred, ms.
        is_counted: Whether it was applied without the store.
    """

    view: ViewKey
    is_end: bool
    at: int
    is_counted: bool


class ViewTimeout:
    """A time-out that waits for the store: a stall stayed unexplained, or the view has ended.

    Attributes:
        view: The view.
        is_end: Whether the view has ended.
        at: When the time-out occurred, ms.
        is_counted: Whether it was applied without the store.
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
        """The id of its log entry in the latest update."""
        return b"%s %d" % (b"expire" if self.is_end else b"resolve", self._known)

    def operation(self, by: str, lifetime: int) -> Extend:
        """Return the operation that writes it into the log, unless the log has grown meanwhile.

        Args:
            by: This worker's name.
            lifetime: ms for which the log is kept.
        """
        known = self._known = self.view.log_position
        entry = Entry(self.id, by, view_log.EXPIRE if self.is_end else view_log.RESOLVE)
        return Extend(view_log.log_key(self.view.key), entry, known, known, lifetime)

    def observations(self) -> list[Observation]:
        """Apply it to the view and return what it makes observable."""
        return (
            playback.end_view(self.view) if self.is_end else playback.apply_waiting(self.view, None)
        )

    def capture_state(self) -> ViewTimeoutState:
        """Return it for a snapshot."""
        return ViewTimeoutState(self.view.key, self.is_end, self.at, self.is_counted)

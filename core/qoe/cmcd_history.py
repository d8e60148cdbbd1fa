"""What a view keeps of its CMCD records: their sequence numbers, and the errors they have reported.

Repeated records are recognised by their numbers.

A body that is sent again is recognised by its bytes (``engine/dedup``). But hls.js and dash.js put
records that were refused into the next body, together with newer ones, and an answer that was lost
makes an accepted record one of these. Records are numbered by ``sn`` for each session and target.

The number starts again at 0 when a player loads its next source in the same session (hls.js) or is
configured again (Shaka). A smaller number with a later time is such a restart, not an old record.

Any record may report an error, and dash.js repeats its latest error on every later one, so a
code counts once for each record of the event ``e``, and elsewhere only if it is news.
"""

from typing import Final

import msgspec

WINDOW: Final = 64
"""Numbers below the highest that are remembered one by one."""

_ALL: Final = (1 << WINDOW) - 1

Number = int | float


class SequenceRun(msgspec.Struct, array_like=True, gc=False, eq=False):
    """The numbers of one run, from one restart to the next.

    Attributes:
        latest: Latest time of its records, ms.
        highest: Highest number.
        seen: Bit n: whether the number ``highest - n`` was seen.
    """

    latest: Number
    highest: int
    seen: int = 1


class SequenceWindow(msgspec.Struct, array_like=True, gc=False, eq=False):
    """The numbers of the latest two runs of a view.

    Snapshots contain the object as it is.
    """

    run: SequenceRun | None = None
    earlier: SequenceRun | None = None

    def is_new(self, number: int, at: Number) -> bool:
        """Note a record; returns whether it was not seen before.

        Args:
            number: Its sequence number.
            at: Its time by the client's clock, ms.
        """
        run = self.run
        if run is None:
            self.run = SequenceRun(at, number)
            return True
        if self.earlier is not None and at <= self.earlier.latest:
            return _note(self.earlier, number, at)
        if _note(run, number, at):
            return True
        if at <= run.latest:
            return False
        self.earlier, self.run = run, SequenceRun(at, number)
        return True


def _note(run: SequenceRun, number: int, at: Number) -> bool:
    """Note a record of a run; returns whether its number was not seen before."""
    behind = run.highest - number
    if behind >= WINDOW:
        return False
    if behind < 0:
        run.seen = ((run.seen << -behind) | 1) & _ALL if behind > -WINDOW else 1
        run.highest = number
    elif run.seen >> behind & 1:
        return False
    else:
        run.seen |= 1 << behind
    run.latest = max(run.latest, at)
    return True


MAX_CODES: Final = 32
"""Error codes of a view that are remembered; others count on the event ``e`` only."""

MAX_CODE: Final = 64
"""Characters of an error code that are remembered."""

NO_CODE: Final = "unknown"
"""The code of an error without one (Shaka)."""

REPORTED: Final = -1
"""Stands for the time of a code that an event ``e`` has reported."""


class RecordTrace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a view keeps of one record.

    Attributes:
        at: Its time, ms.
        number: Its sequence number.
        is_error: Whether its event is ``e``.
        codes: Its error codes.
    """

    at: Number
    number: int | None = None
    is_error: bool = False
    codes: tuple[str, ...] = ()


class CmcdHistory(msgspec.Struct, array_like=True, gc=False, eq=False):
    """The records of one view so far.

    Snapshots contain the object as it is.

    Attributes:
        window: Their sequence numbers.
        codes: Error codes, each with the time at which another event than ``e`` announced it, or
            ``REPORTED``.
    """

    window: SequenceWindow = msgspec.field(default_factory=SequenceWindow)
    codes: dict[str, Number] = {}

    def note(self, record: RecordTrace) -> list[str] | None:
        """Note a record; returns its error codes that count, None if it was seen before."""
        if record.number is not None and not self.window.is_new(record.number, record.at):
            return None
        return [code for code in record.codes if self._counts(code[:MAX_CODE], record)]

    def _counts(self, code: str, record: RecordTrace) -> bool:
        known = self.codes.get(code)
        if record.is_error:
            self._remember(code, REPORTED)
            return known is None or known < record.at
        return known is None and self._remember(code, record.at)

    def _remember(self, code: str, at: Number) -> bool:
        if code not in self.codes and len(self.codes) >= MAX_CODES:
            return False
        self.codes[code] = at
        return True

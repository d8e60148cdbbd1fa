"""Recognises repeated CMCD records of a view by their sequence numbers.

A body that is sent again is recognised by its bytes (``engine/dedup``). But hls.js and dash.js put
records that were refused into the next body, together with newer ones, and an answer that was lost
makes an accepted record one of these. Records are numbered by ``sn`` for each session and target.

The number starts again at 0 when a player loads its next source in the same session (hls.js) or is
configured again (Shaka). A smaller number with a later time is such a restart, not an old record.
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
        began: Time of its first record, ms.
        latest: Latest time of its records, ms.
        highest: Highest number.
        seen: Bit n: whether the number ``highest - n`` was seen.
    """

    began: Number
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
            self.run = SequenceRun(at, at, number)
            return True
        if self.earlier is not None and at < run.began:
            # A request may have been under way at the restart: what fits neither run is new.
            return _note(self.earlier, number, at)
        if _note(run, number, at):
            return True
        if at <= run.latest:
            return False
        self.earlier, self.run = run, SequenceRun(at, at, number)
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

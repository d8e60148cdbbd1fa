"""The playback model: one state machine per view, and the time spent in each state.

    new -> loaded -> starting -> playing <-> rebuffering, seeking, paused -> ended, failed, left

It consumes signals (``signals``) of any source, in three steps:

``receive``        takes the signals of a batch. What holds in any order (a view was loaded, asked
                   to play, completed; running totals, which are high-water marks) is observed at
                   once.
``apply_waiting``  applies the signals that arrived some time ago, in the order of client time:
                   batches of a view may overtake each other. All times follow from this step.
``end_view``       closes what is open, and observes what holds once a view: its outcome, its score.

Rules, with their sources (CTA-2066, and recorded traffic of both SDK generations). The first two
are in ``state_time``, the next three in modules of their names, the last in ``state_machine``:

evidence   Between two signals at most ``EVIDENCE`` counts for any state. Players report every 10 s,
           hidden tabs once a minute, so sleep, freezes and lost connections add no time.
clocks     Where client time outruns arrival by more than it ever did for the view, the client's
           clock has jumped; the jump adds nothing. A batch from before all that was applied, whose
           running total has gone on nevertheless, comes from a clock that was set back: from then
           on client time is moved ahead by as much.
movement   A position that moves as playback does shows the first frame, and ends a stall or a seek
           whose end the player does not report (dash.js; DOM ``stalled`` while the picture moves).
           After an error, or a silence of more than the evidence, as much was played as it moved.
start-up   It begins with the play request and ends with the first frame. A player that reports
           each wait, and none after the request, shows its first frame at once (preloaded).
stalls     A wait before the first frame is start-up; one that a seek explains, by its time and
           target or by a jump of the position, belongs to the seek; any other is rebuffering. A
           pause ends it: the viewer no longer waits.
errors     An error is fatal if nothing was played after it, and something was to be played.
"""

from collections.abc import Iterator, Sequence

from . import outcome
from .observation import Observation
from .playback_state import Mark
from .reception import receive
from .reorder_window import REORDER_WINDOW, due_count
from .signals import Signal
from .state_machine import StateMachine
from .view import View


def apply_waiting(view: View, before: int | None) -> list[Observation]:
    """Applies the signals that arrived up to a time, and those that precede them.

    Args:
        view: The view.
        before: Time of arrival, ms; None for all, when no later signal will explain them.
    """
    playback = view.playback
    count = due_count(playback, before)
    if not count:
        return []
    machine = StateMachine(view)
    for number in range(count):
        machine.apply(number)
    latest = playback.window[count - 1]
    playback.applied_order = latest.number, int(latest.kind)
    playback.window = playback.window[count:]
    playback.arrivals = playback.arrivals[count:]
    if before is None:
        machine.confirm()
    return machine.observations()


def apply_signals(
    view: View, signals: Sequence[Signal], now: int, applied_at: int
) -> list[Observation]:
    """Takes the signals of a batch, and applies those whose time has come.

    Args:
        view: The view.
        signals: Its signals in the batch.
        now: Time of arrival, ms.
        applied_at: The present in ms, from which on the signals wait for earlier ones. It is later
            than the arrival if the batch was kept for this worker, as others may be.
    """
    if not signals:
        return []
    out = receive(view, signals, now, applied_at)
    out += apply_waiting(view, now - REORDER_WINDOW)
    return out


def trace(view: View, signals: Sequence[Signal]) -> Iterator[Signal]:
    """Applies the signals of a whole view one by one.

    Yields:
        Each signal that the model has just applied, in order; the view is in the state after it.
    """
    receive(view, signals, now=0, applied_at=0)
    machine = StateMachine(view)
    for number, signal in enumerate(view.playback.window):
        machine.apply(number)
        yield signal


def end_view(view: View) -> list[Observation]:
    """Ends a view after its time-out; returns its last observations."""
    out = apply_waiting(view, None)
    machine = StateMachine(view)
    machine.finish()
    return [*out, *machine.observations(), *outcome.end_observations(view)]


def is_pending(view: View) -> bool:
    """Whether signals of the view, a stall or a pause wait for later ones."""
    playback = view.playback
    stall = playback.stall
    return bool(
        playback.window
        or playback.paused_at is not None
        or (stall is not None and stall.is_pending)
    )


def ends_early(view: View) -> bool:
    """Whether nothing more is to be expected of a silent view: it is over, or its page was hidden
    before anything was shown."""
    playback = view.playback
    return playback.is_over or (playback.is_hidden and not playback.has(Mark.SHOWN))

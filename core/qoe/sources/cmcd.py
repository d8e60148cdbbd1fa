"""CMCD version 2 as a source: records to signals.

``KIND_BY_STATE`` is the table. Each record but that of a request says in which state the player is,
so a lost or late change of state is made up by the next record. What players do beside the
specification was measured (hls.js 1.7.4, dash.js 5.2.1, Shaka 5.2.12):

- hls.js sends ``r`` (rebuffering) in every seek, so the model distinguishes the causes of stalls;
- dash.js sends ``s`` (starting) when it gets its source, long before play is requested, and
  ``w`` for waits in start-up and seeks;
- Shaka's release build sends no state at all: what such a view did is unknown, never zero;
- a playback rate of 1 is left out.

Source of the mapping: CTA-5004-B, sections 3 and 4.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ...events.cmcd_record import RESPONSE, CmcdEvent, CmcdRecord
from ..cmcd_fields import bitrate_bps
from ..cmcd_history import NO_CODE, CmcdHistory, RecordTrace
from ..observation import Observation
from ..signals import Measures, Rendition, Signal, SignalKind, Switch
from ..view import View
from ..vocabulary import ObservationKind

KIND_BY_STATE: Final[Mapping[str, SignalKind]] = {
    "d": SignalKind.LOADED,
    "s": SignalKind.PLAY_REQUESTED,
    "p": SignalKind.PLAYING,
    "r": SignalKind.PLAY_WAIT,
    "w": SignalKind.PLAY_WAIT,
    "k": SignalKind.SEEK_BEGIN,
    "a": SignalKind.PAUSED,
    "e": SignalKind.ENDED,
    "f": SignalKind.FATAL_ERROR,
    "q": SignalKind.LEFT,
}
"""What each state (``sta``) says. ``w`` is in the list of tokens and has no definition."""

ERROR_FAMILY: Final = "cmcd"
"""Label ``error_family`` of all errors; the record has no such thing."""

MAX_MEASURE_MS: Final = 86_400_000

MAX_RATE: Final = 16.0


def signals_of(event: CmcdEvent) -> Sequence[Signal]:
    """Return the signals of a record, at least one."""
    record = event.record
    if record.e == RESPONSE:
        # Its time is that of the request, and its state that of the response.
        return (_signal(event, SignalKind.REPORT, measures=_measures(event, is_request=True)),)
    kind = _kind(event)
    rendition = _rendition(record)
    main = _signal(
        event,
        kind,
        position=position_s(event),
        rate=_rate(record),
        dropped=record.dfa,
        value=_value(record, kind),
        rendition=rendition,
        switch=_switch(record),
        measures=_measures(event, is_request=False),
        is_live=record.st in ("l", "ll"),
    )
    more: list[Signal] = []
    if record.e == "t" and kind is SignalKind.PLAYING:
        more.append(_signal(event, SignalKind.PROGRESS, rendition=rendition))
    elif record.e == "e" and kind is not SignalKind.FATAL_ERROR:
        more.append(_signal(event, SignalKind.ERROR))
    elif record.e == "b":
        more.append(_signal(event, SignalKind.HIDDEN if record.bg else SignalKind.VISIBLE))
    return (main, *more) if more else (main,)


def trace_of(event: CmcdEvent) -> RecordTrace:
    """Return what a view keeps of a record. The time of a request is no time of an error."""
    record = event.record
    if record.e == "e":
        return RecordTrace(record.ts, record.sn, True, record.ec or (NO_CODE,))
    codes = () if record.e == RESPONSE or record.ec is None else record.ec
    return RecordTrace(record.ts, record.sn, False, codes)


def note_record(record: RecordTrace, view: View) -> list[str] | None:
    """Note a record in its view; returns its error codes that count, None if it is repeated."""
    if view.cmcd is None:
        view.cmcd = CmcdHistory()
    return view.cmcd.note(record)


def observations_of(event: CmcdEvent, view: View | None, codes: Iterable[str]) -> list[Observation]:
    """Return what a new record reports besides what it says about its playback.

    Args:
        event: The record.
        view: Its view.
        codes: Its error codes that count.
    """
    record = event.record
    if record.e == RESPONSE:
        return [Observation(ObservationKind.MEDIA_REQUEST, event, view)]
    out = []
    if record.e == "t":
        out.append(Observation(ObservationKind.HEARTBEAT, event, view))
    elif record.e == "ps" and record.sta == "r":
        out.append(Observation(ObservationKind.STALL_START, event, view))
    kind = ObservationKind.ERROR
    out += [Observation(kind, event, view, None, code, ERROR_FAMILY) for code in codes]
    return out


def _value(record: CmcdRecord, kind: SignalKind) -> float | None:
    if kind is SignalKind.ENDED:
        return 1.0
    # Each record of a failed player has the state, and one of them at most reports the error.
    return 0.0 if kind is SignalKind.FATAL_ERROR and record.e != "e" else None


def _signal(event: CmcdEvent, kind: SignalKind, **members: Any) -> Signal:
    number = event.record.sn or 0
    return Signal(event.event_time, kind, reports_totals=False, number=number, **members)


def _kind(event: CmcdEvent) -> SignalKind:
    record = event.record
    state = record.sta
    if state is None:
        # The first record of a session comes before the first state.
        return SignalKind.ACTIVE if record.sn != 0 else SignalKind.REPORT
    if state == "p" and record.nr:  # it plays, and shows nothing: this is no playback
        return SignalKind.LEFT
    if state == "a" and record.e != "ps":  # each signal of a pause is a pause
        return SignalKind.REPORT
    if state == "s" and starts_on_load(event):
        return SignalKind.LOADED
    return KIND_BY_STATE.get(state, SignalKind.REPORT)


def starts_on_load(event: CmcdEvent) -> bool:
    """Whether the player sends state ``s`` when it is loaded, not when it is asked to play."""
    name = "" if event.player is None else str(event.player.name).lower()
    return "dash" in name and "shaka" not in name


def _measures(event: CmcdEvent, *, is_request: bool) -> Measures | None:
    """Return the media start delay. dash.js sends another, wrong one with a later request."""
    delay = event.record.msd
    if delay is None or not 0 <= delay <= MAX_MEASURE_MS:
        return None
    if event.record.sta is None:  # Shaka: since load(), the viewer's hesitation included
        return Measures(load=delay / 1000)
    return None if is_request else Measures(first_frame=delay / 1000)


def position_s(event: CmcdEvent) -> float | None:
    """Return the position in s; of live streams it is a time, and None."""
    return None if event.playback_time is None else event.playback_time / 1000


def _rate(record: CmcdRecord) -> float:
    return record.pr if record.pr is not None and 0 <= record.pr <= MAX_RATE else 1.0


def _rendition(record: CmcdRecord) -> Rendition | None:
    bps = bitrate_bps(record)
    return None if bps is None else Rendition(bps)


def _switch(record: CmcdRecord) -> Switch | None:
    """Return a change of the rendition; the model ignores one that changes nothing."""
    rates = record.pb or record.br
    if not rates:
        return None
    return Switch(is_audio=record.e == "bc" and rates.keys() == {"a"})

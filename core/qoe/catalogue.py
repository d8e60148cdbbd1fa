"""The metric catalogue: every QoE metric, one row each.

A row declares the metric, the kinds of observation that feed it, and the functions that read its
value and labels. To add a metric, add a row: series, metadata, HELP text and ``docs/metrics.md``
follow from it. The names are those used by dashboards and rules in the field.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..metrics.metric import Metric, MetricType
from . import fields
from .observation import Observation
from .vocabulary import ObservationKind

COUNTER, GAUGE, HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

Value = Callable[[Observation], float | None]
Label = Callable[[Observation], str]


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """A metric and its source.

    Attributes:
        metric: Name, type, unit, help, buckets.
        on: The kinds of observation that feed it.
        value: Reads the value, None for nothing to record; without it the metric counts by one.
        labels: The metric's own labels: names, and functions that read their values.
        source: Describes events and fields for the documentation.
    """

    metric: Metric
    on: tuple[ObservationKind, ...]
    source: str
    value: Value | None = None
    labels: tuple[tuple[str, Label], ...] = ()


def _row(
    name: str,
    kind: MetricType,
    help: str,
    *,
    on: tuple[ObservationKind, ...],
    source: str,
    unit: str = "",
    buckets: tuple[float, ...] = (),
    value: Value | None = None,
    labels: tuple[tuple[str, Label], ...] = (),
) -> CatalogueRow:
    names = tuple(label for label, _ in labels)
    return CatalogueRow(Metric(name, kind, help, unit, names, buckets), on, source, value, labels)


def _value(observation: Observation) -> float | None:
    return observation.value


def _label(observation: Observation) -> str:
    return observation.label


def _resolution(observation: Observation) -> str:
    return fields.resolution_name(fields.height(observation.event))


def _seek_latency(observation: Observation) -> float | None:
    # The first generation's html5 adapter measures from the load of the page.
    if observation.view is not None and observation.view.milestones.generation == 1:
        if fields.player_name(observation.event) == "html5":
            return None
    return fields.seek_latency_s(observation.event)


def _rebuffer_count(observation: Observation) -> float | None:
    # The second generation's hls.js and dash.js adapters always send 0.
    if observation.view is not None and observation.view.milestones.generation == 2:
        if fields.player_name(observation.event) in ("hlsjs", "dashjs"):
            return None
    return fields.rebuffer_count(observation.event)


BITRATE_BUCKETS = (2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2e7)
STALL_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30)

CATALOGUE: tuple[CatalogueRow, ...] = (
    _row(
        "openqoe_events_total",
        COUNTER,
        "Events accepted.",
        on=(ObservationKind.ANY_EVENT,),
        source="every accepted event",
        labels=(("event_type", lambda m: m.event.event_type),),
    ),
    # Start
    _row(
        "openqoe_player_startup_seconds",
        HISTOGRAM,
        "Time from navigation until the player was ready.",
        unit="seconds",
        buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10),
        on=(ObservationKind.PLAYER_READY,),
        source="`player_startup_time` of playerready",
        value=lambda m: fields.player_startup_s(m.event),
    ),
    _row(
        "openqoe_page_load_seconds",
        HISTOGRAM,
        "Time from navigation until the page had loaded.",
        unit="seconds",
        buckets=(0.25, 0.5, 1, 2, 3, 5, 10, 20),
        on=(ObservationKind.PLAYER_READY,),
        source="`page_load_time` of playerready (first SDK generation)",
        value=lambda m: fields.page_load_s(m.event),
    ),
    _row(
        "openqoe_views_started_total",
        COUNTER,
        "Views started.",
        on=(ObservationKind.VIEW_STARTED,),
        source="once a view: viewstart, else the first playing",
    ),
    _row(
        "openqoe_video_startup_seconds",
        HISTOGRAM,
        "Time from the load of the video to the start of playback.",
        unit="seconds",
        buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30),
        on=(ObservationKind.STARTUP,),
        source="once a view, by `source`: `playing` is `video_startup_time` of the first "
        "playing; `canplay` is that of the first canplay less `player_startup_time`",
        value=_value,
        labels=(("source", _label),),
    ),
    # Picture
    _row(
        "openqoe_bitrate_bps",
        GAUGE,
        "Bit rate of the current rendition, mean of the flush window.",
        unit="bps",
        on=(ObservationKind.RENDITION, ObservationKind.HEARTBEAT_BITRATE),
        source="playing, heartbeat, quality change; not from Shaka and video.js, whose "
        "`bitrate` is not that of a rendition",
        value=_value,
    ),
    _row(
        "openqoe_bitrate_bps",
        HISTOGRAM,
        "Bit rate of the current rendition.",
        unit="bps",
        buckets=BITRATE_BUCKETS,
        on=(ObservationKind.RENDITION, ObservationKind.HEARTBEAT_BITRATE),
        source="as above",
        value=_value,
    ),
    _row(
        "openqoe_resolution_total",
        COUNTER,
        "Renditions shown, by the standard resolution their height reaches.",
        on=(ObservationKind.RENDITION,),
        source="`resolution` of playing and of quality changes that change something",
        value=lambda m: None if fields.event_data(m.event).resolution is None else 1,
        labels=(("resolution", _resolution),),
    ),
    # Stalls
    _row(
        "openqoe_rebuffer_events_total",
        COUNTER,
        'Stalls, by cause: only cause="rebuffer" is rebuffering.',
        on=(ObservationKind.STALL,),
        source="stall start; `cause` is `startup`, `seek` or `rebuffer`",
        labels=(("cause", _label),),
    ),
    _row(
        "openqoe_rebuffer_duration_seconds",
        HISTOGRAM,
        'Duration of stalls, by cause: only cause="rebuffer" is rebuffering.',
        unit="seconds",
        buckets=STALL_BUCKETS,
        on=(ObservationKind.STALL_DURATION,),
        source="stall end: its `stall_duration`, else the time since the stall's start",
        value=_value,
        labels=(("cause", _label),),
    ),
    _row(
        "openqoe_buffer_length_seconds",
        HISTOGRAM,
        "Media buffered ahead of the position.",
        unit="seconds",
        buckets=(0.5, 1, 2, 5, 10, 20, 30, 60),
        on=(
            ObservationKind.STALL_START,
            ObservationKind.STALL_END,
            ObservationKind.HEARTBEAT,
            ObservationKind.CAN_PLAY,
        ),
        source="`buffer_length`, `buffer_len_ms` or `buf_len` of stall start, stall end, "
        "heartbeat, canplay",
        value=lambda m: fields.buffer_s(m.event),
    ),
    # Viewer
    _row(
        "openqoe_seeks_total",
        COUNTER,
        "Seeks.",
        on=(ObservationKind.SEEK,),
        source="seek",
    ),
    _row(
        "openqoe_seek_latency_seconds",
        HISTOGRAM,
        "Time from a seek to the next picture.",
        unit="seconds",
        buckets=(0.1, 0.25, 0.5, 1, 2, 5),
        on=(ObservationKind.SEEK,),
        source="`seek_latency` of seek; not from html5 of the first generation, which measures "
        "from the page's load",
        value=_seek_latency,
    ),
    _row(
        "openqoe_pause_events_total",
        COUNTER,
        "Pauses, except those that players report right before the end.",
        on=(ObservationKind.VIEWER_PAUSE,),
        source="pause",
    ),
    _row(
        "openqoe_playing_time_seconds",
        COUNTER,
        "Media time played.",
        unit="seconds",
        on=(ObservationKind.MEDIA_PLAYED,),
        source="increase of the view's `playing_time` in heartbeat, pause, quartile, ended",
        value=_value,
    ),
    _row(
        "openqoe_quartile_reached_total",
        COUNTER,
        "Views that reached a quartile of the video.",
        on=(ObservationKind.QUARTILE_REACHED,),
        source="once a view and quartile: quartile",
        labels=(("quartile", _label),),
    ),
    # End
    _row(
        "openqoe_views_completed_total",
        COUNTER,
        "Views that reached the end.",
        on=(ObservationKind.VIEW_COMPLETED,),
        source="once a view: ended",
    ),
    _row(
        "openqoe_completion_rate",
        GAUGE,
        "Fraction of the video that views reached, mean of the flush window.",
        unit="ratio",
        on=(ObservationKind.COMPLETION,),
        source="once a view: `completion_rate` of ended, else the highest quartile when the "
        "view expires",
        value=_value,
    ),
    _row(
        "openqoe_completion_rate",
        HISTOGRAM,
        "Fraction of the video that views reached.",
        unit="ratio",
        buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        on=(ObservationKind.COMPLETION,),
        source="as above",
        value=_value,
    ),
    _row(
        "openqoe_rebuffer_count",
        HISTOGRAM,
        "Stalls of a view as counted by the player, including start-up and seeks.",
        buckets=(0, 1, 2, 3, 5, 10, 20),
        on=(ObservationKind.ENDED,),
        source="`rebuffer_count` of ended; not from hls.js and dash.js of the second "
        "generation, which always send 0",
        value=_rebuffer_count,
    ),
    # Quality
    _row(
        "openqoe_dropped_frames_total",
        COUNTER,
        "Frames dropped.",
        on=(ObservationKind.FRAMES_DROPPED,),
        source="increase of the view's `dropped_frames` in heartbeat",
        value=_value,
    ),
    _row(
        "openqoe_heartbeat_bitrate_bps",
        GAUGE,
        "Bit rate at heartbeats, mean of the flush window.",
        unit="bps",
        on=(ObservationKind.HEARTBEAT_BITRATE,),
        source="heartbeat",
        value=_value,
    ),
    _row(
        "openqoe_quality_changes_total",
        COUNTER,
        "Changes of the video's rendition.",
        on=(ObservationKind.QUALITY_SWITCH,),
        source="qualitychange, quality_change; direction by bit rate, else by height. "
        "The initial rendition and changes of the sound do not count",
        labels=(
            ("trigger", lambda m: fields.trigger(m.event)),
            ("change_direction", _label),
        ),
    ),
    _row(
        "openqoe_quality_change_bitrate_bps",
        GAUGE,
        "Bit rate after quality changes, mean of the flush window.",
        unit="bps",
        on=(ObservationKind.QUALITY_SWITCH,),
        source="quality change",
        value=_value,
    ),
    _row(
        "openqoe_quality_change_old_bitrate_bps",
        GAUGE,
        "Bit rate before quality changes, mean of the flush window.",
        unit="bps",
        on=(ObservationKind.RENDITION_REPLACED,),
        source="quality change: the reported old rate, else the last known one",
        value=_value,
    ),
    _row(
        "openqoe_errors_total",
        COUNTER,
        "Errors.",
        on=(ObservationKind.ERROR,),
        source="error; the code of hls.js is its error detail",
        labels=(
            ("error_family", lambda m: fields.error_family(m.event)),
            ("error_code", lambda m: fields.error_code(m.event)),
        ),
    ),
)

CONCURRENT_VIEWS = Metric(
    "openqoe_concurrent_views_current",
    GAUGE,
    "Playing views with an event in the last 30 s.",
)
"""Computed over all views at each flush, so it has no row."""

METRICS: tuple[Metric, ...] = (*(row.metric for row in CATALOGUE), CONCURRENT_VIEWS)

SeriesCacheKey = Metric | tuple[Metric | str, ...]
"""Key of a series in its group's cache: the metric, with its own label values if it has any."""

RecordingRule = tuple[Metric, Value | None, Callable[[Observation], SeriesCacheKey] | None]
"""A row as the recorder applies it: the metric, its value, and the function that builds the cache
key unless the metric alone is the key."""


def _cache_key(row: CatalogueRow) -> Callable[[Observation], SeriesCacheKey] | None:
    metric, labels = row.metric, tuple(label for _, label in row.labels)
    match labels:
        case ():
            return None
        case (label,):  # the common case, without a list
            return lambda observation: (metric, label(observation))
    return lambda observation: (metric, *[label(observation) for label in labels])


def _rules_for(kind: ObservationKind) -> tuple[RecordingRule, ...]:
    return tuple((row.metric, row.value, _cache_key(row)) for row in CATALOGUE if kind in row.on)


RULES_BY_KIND: dict[ObservationKind, tuple[RecordingRule, ...]] = {
    kind: _rules_for(kind) for kind in ObservationKind
}
"""The rows by kind, as bare tuples: the recorder iterates over them for every event."""

(EVENTS_TOTAL,) = (row.metric for row in CATALOGUE if ObservationKind.ANY_EVENT in row.on)
"""The metric that every event feeds; the recorder counts it directly."""

"""The metric catalogue: every QoE metric, one row each.

A row declares the metric, the kinds of observation that feed it, and the functions that read its
value and labels. To add a metric, add a row: series, metadata, HELP text and ``docs/metrics.md``
follow from it. The names are those used by dashboards and rules in the field.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..metrics.metric import Metric, MetricType
from . import cmcd_fields, fields
from .observation import Observation
from .playback_state import EVIDENCE_S
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


def _seek_latency(observation: Observation) -> float | None:
    if observation.kind is ObservationKind.SEEK_LATENCY:
        return observation.value
    # The first generation's html5 adapter measures from the load of the page.
    if observation.view is not None and observation.view.playback.generation == 1:
        if fields.player_name(observation.event) == "html5":
            return None
    latency = fields.seek_latency_s(observation.event)
    return latency if latency is not None and latency <= EVIDENCE_S else None


def _buffer(observation: Observation) -> float | None:
    return cmcd_fields.buffer_s(observation.event)


def _rebuffer_count(observation: Observation) -> float | None:
    # The second generation's hls.js and dash.js adapters always send 0.
    if observation.view is not None and observation.view.playback.generation == 2:
        if fields.player_name(observation.event) in ("hlsjs", "dashjs"):
            return None
    return fields.rebuffer_count(observation.event)


STARTUP_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30)
BITRATE_BUCKETS = (2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2e7)
FINE_BITRATE_BUCKETS = (
    *(1.5e5, 2.5e5, 4e5, 5.5e5, 7.5e5, 1e6, 1.25e6, 1.5e6, 1.75e6, 2e6, 2.5e6, 3e6, 3.5e6, 4e6),
    *(4.5e6, 5e6, 6e6, 7e6, 8e6, 1e7, 1.2e7, 1.6e7, 2e7, 2.5e7, 4e7),
)
"""Steps of a fifth to a third, so that a quantile is not far from a rendition of the ladder."""
REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
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
        "openqoe_views_loaded_total",
        COUNTER,
        "Views whose player was loaded, whether or not anybody asked to play.",
        on=(ObservationKind.VIEW_LOADED,),
        source="once a view: its first event of any kind that belongs to a player",
    ),
    _row(
        "openqoe_views_started_total",
        COUNTER,
        "Views that a viewer, or autoplay, asked to play.",
        on=(ObservationKind.VIEW_STARTED,),
        source="once a view: the first play request",
    ),
    _row(
        "openqoe_video_startup_seconds",
        HISTOGRAM,
        "Time from the play request to the first frame.",
        unit="seconds",
        buckets=STARTUP_BUCKETS,
        on=(ObservationKind.STARTUP,),
        source="once a view that shows a frame, by `source`: `measured` is the time between the "
        "player's events, `cmcd` its own `msd`, `reported` the `video_startup_time` of a client "
        "that is none of the SDK's players and reports no wait",
        value=_value,
        labels=(("source", _label),),
    ),
    _row(
        "openqoe_reported_startup_seconds",
        HISTOGRAM,
        "Start-up as the SDK reports it, which is not the viewer's wait: it ends at the play "
        "request, or begins at the load.",
        unit="seconds",
        buckets=STARTUP_BUCKETS,
        on=(ObservationKind.REPORTED_STARTUP,),
        source="once a view, by `field`: `playing` is `video_startup_time` of the first playing; "
        "`canplay` is that of the first canplay less `player_startup_time`",
        value=_value,
        labels=(("field", _label),),
    ),
    _row(
        "openqoe_aggregate_startup_seconds",
        HISTOGRAM,
        "Start of the page and the player, and video start-up, together.",
        unit="seconds",
        buckets=(0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60),
        on=(ObservationKind.AGGREGATE_STARTUP,),
        source="once a view of which all are known: `page_load_time` or `player_startup_time` of "
        "playerready, whichever is later (both count from the navigation), and the time from play "
        "request to first frame",
        value=_value,
    ),
    _row(
        "openqoe_startup_wait_seconds",
        COUNTER,
        "Time that viewers waited for the first frame, until it came or they left.",
        unit="seconds",
        on=(ObservationKind.STARTUP_WAIT,),
        source="time in the state starting",
        value=_value,
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
        "openqoe_playing_bitrate_bps",
        HISTOGRAM,
        "Bit rate of the current rendition, in finer buckets than openqoe_bitrate_bps.",
        unit="bps",
        buckets=FINE_BITRATE_BUCKETS,
        on=(ObservationKind.RENDITION, ObservationKind.HEARTBEAT_BITRATE),
        source="as above",
        value=_value,
    ),
    _row(
        "openqoe_bitrate_bits_total",
        COUNTER,
        "Bits of the renditions that were played: bit rate times time played.",
        on=(ObservationKind.BITS_PLAYED,),
        source="bit rate of the rendition in force x time in the state playing",
        value=_value,
    ),
    _row(
        "openqoe_bitrate_known_seconds_total",
        COUNTER,
        "Time played with a known bit rate: the denominator of the weighted average bit rate.",
        unit="seconds",
        on=(ObservationKind.BITRATE_KNOWN,),
        source="time in the state playing",
        value=_value,
    ),
    _row(
        "openqoe_rendition_playing_seconds_total",
        COUNTER,
        "Time played by the standard resolution of the rendition.",
        unit="seconds",
        on=(ObservationKind.RENDITION_PLAYED,),
        source="time in the state playing",
        value=_value,
        labels=(("resolution", _label),),
    ),
    _row(
        "openqoe_upscale_seconds_total",
        COUNTER,
        "Time played times the share by which the picture was enlarged.",
        unit="seconds",
        on=(ObservationKind.UPSCALED,),
        source="max(0, max(player width x dpr / video width, height likewise) - 1) of the "
        "rendition in force x time played; second SDK generation of hls.js and dash.js",
        value=_value,
    ),
    _row(
        "openqoe_downscale_seconds_total",
        COUNTER,
        "Time played times the share by which the picture was reduced.",
        unit="seconds",
        on=(ObservationKind.DOWNSCALED,),
        source="max(0, 1 - the same ratio) x time played",
        value=_value,
    ),
    _row(
        "openqoe_scale_known_seconds_total",
        COUNTER,
        "Time played with known sizes of video and player: the denominator of both.",
        unit="seconds",
        on=(ObservationKind.SCALE_KNOWN,),
        source="time in the state playing",
        value=_value,
    ),
    _row(
        "openqoe_resolution_total",
        COUNTER,
        "Renditions shown, by the standard resolution their height reaches.",
        on=(ObservationKind.RENDITION_SHOWN,),
        source="`resolution` of playing and of quality changes that change something",
        labels=(("resolution", _label),),
    ),
    # Stalls
    _row(
        "openqoe_rebuffer_events_total",
        COUNTER,
        'Stalls, by cause: only cause="rebuffer" is rebuffering.',
        on=(ObservationKind.STALL,),
        source="stall start; `cause` is `startup`, `seek`, `rebuffer` or `paused` (in a pause)",
        labels=(("cause", _label),),
    ),
    _row(
        "openqoe_rebuffer_duration_seconds",
        HISTOGRAM,
        'Duration of stalls, by cause: only cause="rebuffer" is rebuffering.',
        unit="seconds",
        buckets=STALL_BUCKETS,
        on=(ObservationKind.STALL_DURATION,),
        source="stall end: its `stall_duration` if it fits the time since the stall's start, else "
        "that time",
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
        value=_buffer,
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
        on=(ObservationKind.SEEK, ObservationKind.SEEK_LATENCY),
        source="`seek_latency` of seek; not from html5 of the first generation, which measures "
        "from the page's load, and none above 90 s, which is sleep. CMCD: from state `k` to the "
        "next picture",
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
        source="increase of the view's `playing_time` in heartbeat, pause, quartile, ended; the "
        "position after the last one",
        value=_value,
    ),
    _row(
        "openqoe_watch_time_seconds",
        COUNTER,
        "Time watched: playing and rebuffering, by the clock. Start-up, seeks and pauses are not "
        "in it.",
        unit="seconds",
        on=(ObservationKind.WATCHED,),
        source="time in the states playing and rebuffering, up to the view's last event",
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
        "openqoe_view_outcomes_total",
        COUNTER,
        "Views that ended, by outcome: completed, stopped, exit_before_start, bounce, "
        "start_failure, playback_failure, unknown.",
        on=(ObservationKind.OUTCOME,),
        source="once a view that was asked to play, at its end: ended, or silence",
        labels=(("outcome", _label),),
    ),
    _row(
        "openqoe_view_rebuffer_seconds",
        HISTOGRAM,
        "Rebuffering of a view in all.",
        unit="seconds",
        buckets=(0, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60),
        on=(ObservationKind.VIEW_REBUFFER_TIME,),
        source="once a view that showed a frame, at its end: time in the state rebuffering",
        value=_value,
    ),
    _row(
        "openqoe_view_score",
        HISTOGRAM,
        "Score of a view from 0 to 100, by part.",
        buckets=(10, 20, 30, 40, 50, 60, 70, 80, 90, 100),
        on=(ObservationKind.VIEW_SCORE,),
        source="once a view, at its end: `startup`, `smoothness`, `quality` and `success` by the "
        "published formulas of Mux; `all` is our own combination: success/100 x the mean of the "
        "other parts that are known",
        value=_value,
        labels=(("part", _label),),
    ),
    _row(
        "openqoe_completion_rate",
        GAUGE,
        "Fraction of the video that views reached, mean of the flush window.",
        unit="ratio",
        on=(ObservationKind.COMPLETION,),
        source="once a view that shows a frame, at its end: furthest `playback_time` by "
        "`video.duration`; `completion_rate` of ended or the highest quartile, if they are more",
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
        "openqoe_frames_expected_total",
        COUNTER,
        "Frames that should have been shown: frame rate x time played, where it is known.",
        on=(ObservationKind.FRAMES_EXPECTED,),
        source="`framerate` of the rendition in force x time in the state playing",
        value=_value,
    ),
    _row(
        "openqoe_expected_frames_dropped_total",
        COUNTER,
        "Frames dropped while their expected number was known: the numerator of the dropped share.",
        on=(ObservationKind.EXPECTED_FRAMES_DROPPED,),
        source="increase of the view's `dropped_frames`",
        value=_value,
    ),
    _row(
        "openqoe_implausible_totals_total",
        COUNTER,
        "Increases of running totals that were ignored: more than 4 times the elapsed time and "
        "one minute.",
        on=(ObservationKind.TOTAL_IGNORED,),
        source="`playing_time`",
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
            ("trigger", lambda m: m.detail),
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
            ("error_family", lambda m: m.detail or fields.error_family(m.event)),
            ("error_code", lambda m: m.label or fields.error_code(m.event)),
        ),
    ),
    # Delivery
    _row(
        "openqoe_media_requests_total",
        COUNTER,
        "Requests for media and manifests, by object type and class of the status code.",
        on=(ObservationKind.MEDIA_REQUEST,),
        source="CMCD `rr`; `object_type` is that of CMCD (`v` video, `a` audio, `m` manifest …), "
        "`code_class` is `none` without an answer",
        labels=(
            ("object_type", cmcd_fields.object_type),
            ("code_class", cmcd_fields.code_class),
        ),
    ),
    _row(
        "openqoe_media_request_ttfb_seconds",
        HISTOGRAM,
        "Time from a media request to the first byte of its answer.",
        unit="seconds",
        buckets=REQUEST_BUCKETS,
        on=(ObservationKind.MEDIA_REQUEST,),
        source="CMCD `ttfb`; not from dash.js, which sends a time of day",
        value=cmcd_fields.first_byte_s,
    ),
    _row(
        "openqoe_media_request_duration_seconds",
        HISTOGRAM,
        "Time from a media request to the last byte of its answer.",
        unit="seconds",
        buckets=REQUEST_BUCKETS,
        on=(ObservationKind.MEDIA_REQUEST,),
        source="CMCD `ttlb`",
        value=cmcd_fields.last_byte_s,
    ),
    _row(
        "openqoe_throughput_bps",
        HISTOGRAM,
        "Throughput as the player measures it.",
        unit="bps",
        buckets=(2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2.5e8),
        on=(ObservationKind.HEARTBEAT,),
        source="CMCD `mtp` of periodic records",
        value=cmcd_fields.throughput_bps,
    ),
    _row(
        "openqoe_live_latency_seconds",
        HISTOGRAM,
        "Time by which a live stream is behind its source.",
        unit="seconds",
        buckets=(1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 120),
        on=(ObservationKind.HEARTBEAT,),
        source="CMCD `ltc` of periodic records",
        value=cmcd_fields.live_latency_s,
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

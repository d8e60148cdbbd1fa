"""Maps the event types of both SDK generations to one set of kinds.

Names follow CTA-2066 where it defines one. An event type that is not listed is custom: it is
counted and logged, nothing else, so a new SDK never costs a customer a batch.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class ObservationKind(Enum):
    """The subject of an event, or of a fact derived from events."""

    # Reported events
    PLAYER_READY = auto()
    MANIFEST_LOADED = auto()
    VIEW_START = auto()
    CAN_PLAY = auto()
    PLAY = auto()
    PAUSE = auto()
    SEEK = auto()
    STALL_START = auto()
    STALL_END = auto()
    QUALITY_CHANGE = auto()
    HEARTBEAT = auto()
    QUARTILE = auto()
    ENDED = auto()
    ERROR = auto()
    DETACHED = auto()
    OTHER = auto()

    # Facts derived from the state of a view (core/qoe/playback.py)
    ANY_EVENT = auto()
    VIEW_LOADED = auto()
    VIEW_STARTED = auto()
    VIEW_COMPLETED = auto()
    STARTUP = auto()
    REPORTED_STARTUP = auto()
    AGGREGATE_STARTUP = auto()
    STARTUP_WAIT = auto()
    STALL = auto()
    STALL_DURATION = auto()
    VIEWER_PAUSE = auto()
    SEEK_LATENCY = auto()
    RENDITION = auto()
    RENDITION_SHOWN = auto()
    HEARTBEAT_BITRATE = auto()
    QUALITY_SWITCH = auto()
    RENDITION_REPLACED = auto()
    QUARTILE_REACHED = auto()
    MEDIA_PLAYED = auto()
    WATCHED = auto()
    BITS_PLAYED = auto()
    BITRATE_KNOWN = auto()
    RENDITION_PLAYED = auto()
    UPSCALED = auto()
    DOWNSCALED = auto()
    SCALE_KNOWN = auto()
    FRAMES_DROPPED = auto()
    FRAMES_EXPECTED = auto()
    EXPECTED_FRAMES_DROPPED = auto()
    TOTAL_IGNORED = auto()
    COMPLETION = auto()
    OUTCOME = auto()
    VIEW_REBUFFER_TIME = auto()
    VIEW_SCORE = auto()
    MEDIA_REQUEST = auto()

    # Enum's own hash is a Python function. Members are singletons, so hashing by identity is
    # correct and makes look-ups three times faster.
    __hash__ = object.__hash__


KIND_BY_EVENT_TYPE: dict[str, ObservationKind] = {
    "playerready": ObservationKind.PLAYER_READY,
    "manifestload": ObservationKind.MANIFEST_LOADED,
    "viewstart": ObservationKind.VIEW_START,
    "canplay": ObservationKind.CAN_PLAY,
    "playing": ObservationKind.PLAY,
    "pause": ObservationKind.PAUSE,
    "seek": ObservationKind.SEEK,
    "stall_start": ObservationKind.STALL_START,
    "stallstart": ObservationKind.STALL_START,
    "waitstart": ObservationKind.STALL_START,
    "stall_end": ObservationKind.STALL_END,
    "stallend": ObservationKind.STALL_END,
    "qualitychange": ObservationKind.QUALITY_CHANGE,
    "quality_change": ObservationKind.QUALITY_CHANGE,
    "heartbeat": ObservationKind.HEARTBEAT,
    "quartile": ObservationKind.QUARTILE,
    "ended": ObservationKind.ENDED,
    "error": ObservationKind.ERROR,
    "playbackdetached": ObservationKind.DETACHED,
}

GENERATION_BY_EVENT_TYPE: dict[str, int] = {
    "stall_start": 1,
    "stall_end": 1,
    "manifestload": 2,
    "canplay": 2,
    "stallstart": 2,
    "stallend": 2,
    "moveaway": 2,
    "moveback": 2,
    "bandwidthchange": 2,
    "fragmentloaded": 2,
    "bufferlevelchange": 2,
    "qualitychangerequested": 2,
}
"""Event types that only one SDK generation sends. Nothing else distinguishes the generations: both
send the same version header, and an upgraded page posts old events to the new path."""

VIEWSTART_IN_BOTH: Final = frozenset({"shaka", "videojs"})
"""Players whose adapters send ``viewstart`` in both generations; the others only in the first."""


_WITH_VIEWSTART: Final = {**GENERATION_BY_EVENT_TYPE, "viewstart": 1}


def generations_of(player: str) -> Mapping[str, int]:
    """Returns the SDK generation by the event types of a player that only one of them sends."""
    return GENERATION_BY_EVENT_TYPE if player in VIEWSTART_IN_BOTH else _WITH_VIEWSTART

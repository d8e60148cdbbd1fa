"""The two SDK vocabularies mapped to one: what each event type means.

Names follow CTA-2066 where it has one. An event type that is not listed is custom: it is
counted and logged and means nothing more, so a new SDK never costs anybody a batch.
"""

from enum import Enum, auto


class Kind(Enum):
    """What an event, or a fact derived from events, is about."""

    # Events as they come
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

    # Facts that follow from what a view did before (core/qoe/playback.py)
    ANY = auto()
    VIEW_STARTED = auto()
    VIEW_COMPLETED = auto()
    STARTUP = auto()
    STALL = auto()
    STALL_DURATION = auto()
    PAUSED = auto()
    RENDITION = auto()
    HEARTBEAT_BITRATE = auto()
    QUALITY_SWITCH = auto()
    RENDITION_LEFT = auto()
    QUARTILE_REACHED = auto()
    PLAYED = auto()
    FRAMES_DROPPED = auto()
    COMPLETION = auto()

    # Enum's own hash is a Python function; members are singletons, so identity will do and
    # makes the look-up of a kind three times faster.
    __hash__ = object.__hash__


KINDS: dict[str, Kind] = {
    "playerready": Kind.PLAYER_READY,
    "manifestload": Kind.MANIFEST_LOADED,
    "viewstart": Kind.VIEW_START,
    "canplay": Kind.CAN_PLAY,
    "playing": Kind.PLAY,
    "pause": Kind.PAUSE,
    "seek": Kind.SEEK,
    "stall_start": Kind.STALL_START,
    "stallstart": Kind.STALL_START,
    "waitstart": Kind.STALL_START,
    "stall_end": Kind.STALL_END,
    "stallend": Kind.STALL_END,
    "qualitychange": Kind.QUALITY_CHANGE,
    "quality_change": Kind.QUALITY_CHANGE,
    "heartbeat": Kind.HEARTBEAT,
    "quartile": Kind.QUARTILE,
    "ended": Kind.ENDED,
    "error": Kind.ERROR,
    "playbackdetached": Kind.DETACHED,
}

RESTARTS = frozenset({Kind.VIEW_START, Kind.MANIFEST_LOADED, Kind.PLAYER_READY})
"""Events after which running totals may begin anew."""

GENERATIONS: dict[str, int] = {
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
"""Event types that only one generation of the SDK sends. Nothing else tells them apart: both
send the same version header, and an upgraded page posts old events to the new path."""

"""Reads fields of events in canonical units: seconds, bit/s, ratios from 0 to 1.

Every function returns the value for an event, or None if the event does not report it. The
traps (kbit/s, seconds where others send ms, positions that look like totals, throughput that
looks like a bit rate) come from the recorded SDKs; each function documents those it handles.
"""

from functools import lru_cache

from ..events.event_types import Data, DroppedFrames, Event, Number, Text

NO_DATA = Data()

UNRELIABLE_BITRATE = frozenset({"shaka", "videojs"})
"""Players whose ``bitrate`` is not that of a rendition: Shaka sends its throughput estimate,
video.js the first enabled level, usually the lowest."""

DASH_KBPS_LIMIT = 100_000
"""dash.js sends ``bitrate`` in bit/s in the first SDK generation and in kbit/s in the second.
Values below this limit are kbit/s: no rendition is below 100 kbit/s or above 100 Gbit/s."""


# Upper bounds of plausible values: a larger one would corrupt a sum permanently.
MAX_DURATION = 30 * 86_400_000
"""ms, for durations and media time."""
MAX_TOTAL = 100 * 365 * 86_400_000
"""ms, for running totals: some players run for months."""
MAX_POSITION = 1e10
"""s, for positions: live streams count from the epoch."""
MAX_BPS = 1e11
MAX_FPS = 1_000
MAX_NUMBER_LENGTH = 32
"""Characters of a number that is sent as text."""
MAX_PIXELS = 1e6
MAX_PLAYBACK_RATE = 16
MAX_DROPPED_FRAMES = 1e9
MAX_STALLS = 1e5

MAX_TEXT = 256
"""Characters of a text that becomes a label of one metric. hls.js sends details of a megabyte, and
the text is a key of caches before it is a label."""


def event_data(event: Event) -> Data:
    data = event.data
    return NO_DATA if data is None else data


def player_name(event: Event) -> str:
    return str(event.player.name) if event.player is not None else ""


def position_s(event: Event) -> float | None:
    """The media position, in s."""
    return position(event.playback_time)


def position(milliseconds: float | None) -> float | None:
    """Converts a media position to s."""
    if milliseconds is None or not abs(milliseconds) <= MAX_POSITION * 1000:
        return None
    return milliseconds / 1000


def seconds(milliseconds: float | None) -> float | None:
    """Converts a duration to s; negative ones are clock errors."""
    if milliseconds is None or not 0 <= milliseconds <= MAX_DURATION:
        return None
    return milliseconds / 1000


def player_startup_s(event: Event) -> float | None:
    return seconds(event_data(event).player_startup_time)


def page_load_s(event: Event) -> float | None:
    """The time from navigation to the load event.

    The second generation reports the run time of the load handlers (0 to 1 ms) under the same
    name: in ``manifestload``, and from video.js in ``playerready``, which then lacks the player's
    startup time.
    """
    data = event_data(event)
    value = seconds(data.page_load_time)
    if not value or (player_name(event) == "videojs" and data.player_startup_time is None):
        return None
    return value


def buffer_s(event: Event) -> float | None:
    data = event_data(event)
    for value in (data.buffer_length, data.buffer_len_ms, data.buf_len):
        if value is not None:
            return seconds(value)
    return None


def seek_latency_s(event: Event) -> float | None:
    return seconds(event_data(event).seek_latency)


def rendition_bps(event: Event) -> float | None:
    """The bit rate of the current rendition, in bit/s."""
    data = event_data(event)
    reported = _bps(data.bitrate_kb, 1000) or _bps(data.new_bitrate)
    if reported is not None or data.bitrate is None:
        return reported
    player = player_name(event)
    if player in UNRELIABLE_BITRATE:
        return None
    bps = _bps(data.bitrate)
    if bps is not None and bps < DASH_KBPS_LIMIT and player == "dashjs":
        return bps * 1000
    return bps


def previous_bps(event: Event) -> float | None:
    """The bit rate before a quality change, in bit/s."""
    data = event_data(event)
    old = None if data.old is None else data.old.bitrate_kb
    return _bps(old, 1000) or _bps(data.old_bitrate) or _bps(data.previous_bitrate)


def _bps(rate: float | None, unit: int = 1) -> float | None:
    """Converts a bit rate to bit/s; it must be positive."""
    return None if rate is None or not 0 < rate * unit <= MAX_BPS else rate * unit


def height(event: Event) -> float | None:
    """The height of the rendition in pixels; 0 means unknown."""
    resolution = event_data(event).resolution
    return None if resolution is None else resolution.height or None


RESOLUTIONS = (
    (4320, "8k"),
    (2160, "4k"),
    (1440, "1440p"),
    (1080, "1080p"),
    (720, "720p"),
    (480, "480p"),
    (360, "360p"),
    (240, "240p"),
)


@lru_cache(maxsize=64)  # each interval of playing asks, and a ladder has few heights
def resolution_name(pixels: float | None) -> str:
    """The highest standard resolution that a height reaches."""
    for least, name in RESOLUTIONS:
        if pixels is not None and pixels >= least:
            return name
    return "unknown"


def played_total_s(event: Event) -> float | None:
    """The running total of media time played.

    Not for ``playing``, which carries a position under the same name, in ms or s.
    """
    total = event_data(event).playing_time
    return None if total is None or not 0 <= total <= MAX_TOTAL else total / 1000


def duration(duration: Number | None) -> float | None:
    """The duration of the video as the page sends it, in s or ms."""
    return duration if duration is not None and 0 < duration <= MAX_DURATION else None


def framerate(data: Data) -> float | None:
    """The frames per second of the rendition; hls.js sends them as text."""
    value = data.framerate
    if isinstance(value, str):
        if len(value) > MAX_NUMBER_LENGTH:
            return None
        try:
            value = float(value)
        except ValueError:
            return None
    return value if value is not None and 0 < value <= MAX_FPS else None


def scaling(data: Data) -> tuple[float | None, float | None]:
    """The shares by which the picture is enlarged and reduced on the screen."""
    width, height = data.video_width, data.video_height
    if not width or not height or not data.player_width or not data.player_height:
        return None, None
    ratio = data.device_pixel_ratio or 1.0
    across, down = data.player_width * ratio / width, data.player_height * ratio / height
    if not (0 < across <= MAX_PIXELS and 0 < down <= MAX_PIXELS):
        return None, None
    return max(0.0, max(across, down) - 1), max(0.0, 1 - max(across, down))


def dropped_frames_total(event: Event) -> float | None:
    """The running total of dropped frames; dash.js wraps the number in an object."""
    value = event_data(event).dropped_frames
    if isinstance(value, DroppedFrames):
        value = value.dropped_frames
    return None if value is None or not 0 <= value <= MAX_DROPPED_FRAMES else value


def completion_ratio(event: Event) -> float | None:
    """The fraction of the video that was reached, 0 to 1. Some players send a percentage."""
    value = event_data(event).completion_rate
    if value is None or value < 0 or value > 100:
        return None
    return value / 100 if value > 1.5 else min(value, 1.0)


def rebuffer_count(event: Event) -> float | None:
    value = event_data(event).rebuffer_count
    return None if value is None or not 0 <= value <= MAX_STALLS else value


def error_family(event: Event) -> str:
    return _text(event_data(event).error_family)


def error_code(event: Event) -> str:
    """The error's code. hls.js always sends "-1" and puts the cause into the context."""
    data = event_data(event)
    if data.error_context is not None and str(data.error_code) == "-1":
        return _text(data.error_context.error_details, "-1")
    return _text(data.error_code)


def trigger(event: Event) -> str:
    return _text(event_data(event).trigger)


def _text(value: Text, default: str = "unknown") -> str:
    return default if value is None or value == "" else str(value)[:MAX_TEXT]

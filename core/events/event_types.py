"""Event types of both SDK generations.

The types are the schema: msgspec decodes an event into them and skips undeclared members. Only the
identity and the times of an event are required. All other fields are optional, and a value of the
wrong type is ignored (``repair``), so that no event is lost for a field that is not needed.

Field names and units are those of the SDKs (durations in ms, bit rates in bit/s or kbit/s);
``core/qoe/fields.py`` converts them.
"""

import msgspec

Text = str | int | None
"""Value of a label; integers are accepted because content systems often number their videos."""

Number = float | None


class Device(msgspec.Struct, frozen=True, gc=False):
    category: Text = None


class Family(msgspec.Struct, frozen=True, gc=False):
    """An operating system or a browser."""

    family: Text = None


class Player(msgspec.Struct, frozen=True, gc=False):
    name: Text = None


class Network(msgspec.Struct, frozen=True, gc=False):
    country_code: Text = None
    country: Text = None
    region: Text = None


class Video(msgspec.Struct, frozen=True, gc=False):
    id: Text = None
    title: Text = None
    source_url: Text = None
    content_type: Text = None
    stream_type: Text = None
    duration: Number = None


class Cmcd(msgspec.Struct, frozen=True, gc=False):
    """Common Media Client Data (CTA-5004) attached by a player."""

    st: Text = None


class Resolution(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    width: Number = None
    height: Number = None


class DroppedFrames(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Object that dash.js sends for ``dropped_frames``, where other players send a number."""

    dropped_frames: Number = None


class Rendition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    bitrate_kb: Number = None
    resolution: Resolution | None = None


class ErrorContext(msgspec.Struct, frozen=True, gc=False):
    error_details: Text = None
    severity: Number = None


class Data(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Event-specific data: the union of the fields of all event types."""

    playing_time: Number = None
    bitrate: Number = None
    bitrate_kb: Number = None
    new_bitrate: Number = None
    old_bitrate: Number = None
    previous_bitrate: Number = None
    resolution: Resolution | None = None
    old: Rendition | None = None
    media_type: Text = None
    trigger: Text = None
    buffer_length: Number = None
    buffer_len_ms: Number = None
    buf_len: Number = None
    dropped_frames: float | DroppedFrames | None = None
    player_startup_time: Number = None
    page_load_time: Number = None
    video_startup_time: Number = None
    stall_duration: Number = None
    seek_latency: Number = None
    to: Number = None
    quartile: Number = None
    completion_rate: Number = None
    rebuffer_count: Number = None
    error_family: Text = None
    error_code: Text = None
    error_context: ErrorContext | None = None
    framerate: float | str | None = None
    playback_rate: Number = None
    video_width: Number = None
    video_height: Number = None
    player_width: Number = None
    player_height: Number = None
    device_pixel_ratio: Number = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One QoE event.

    Attributes:
        event_time: Client clock, ms since the epoch.
        viewer_time: The same time, or an offset in older documentation; only validated.
        playback_time: Media position, ms.
    """

    event_type: str
    event_time: int | float
    viewer_time: int | float
    org_id: str
    player_id: str
    view_id: str
    session_id: str
    viewer_id: str
    playback_time: Number = None
    env: Text = None
    app_name: Text = None
    app_version: Text = None
    device: Device | None = None
    os: Family | None = None
    browser: Family | None = None
    player: Player | None = None
    network: Network | None = None
    video: Video | None = None
    cmcd: Cmcd | None = None
    data: Data | None = None


IDENTITY = ("event_type", "org_id", "player_id", "view_id", "session_id", "viewer_id")
"""Required strings of an event."""

TIMES = ("event_time", "viewer_time")
"""Required numbers of an event."""

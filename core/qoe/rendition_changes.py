"""The rendition that is played: bit rate, size and frame rate, and its switches."""

from typing import Final

from .fields import resolution_name
from .observation_builder import ObservationBuilder
from .playback_state import Playback
from .signals import REQUESTS, Signal, SignalKind, Switch
from .vocabulary import ObservationKind

MAX_COUNTED_FPS: Final = 300.0
"""Frames per second above which a frame rate is taken for an error."""


def note_rendition(playback: Playback, out: ObservationBuilder, signal: Signal) -> None:
    """Takes the rendition of a signal, and compares it with the one before.

    video.js repeats the event without a change, and Shaka's adapters also send it for sound.
    """
    new, switch = signal.rendition, signal.switch
    assert new is not None, "the signal has a rendition"
    bps = new.bps
    if switch is not None and switch.is_audio:
        playback.audio_bps = bps or playback.audio_bps
        return
    if switch is None and bps is not None:
        bps = picture_bps(playback, bps)
    if signal.kind is SignalKind.PROGRESS:
        if bps is not None:
            out.observe(ObservationKind.HEARTBEAT_BITRATE, bps)
    elif switch is not None:
        if not _observe_switch(playback, out, switch, bps, new.height):
            _keep_rendition(playback, signal, bps)
            return
        _observe_rendition(out, signal, bps)
    elif signal.kind in REQUESTS:
        _observe_rendition(out, signal, bps)
    _keep_rendition(playback, signal, bps)


def picture_bps(playback: Playback, bps: float) -> float:
    """Returns the bit rate of the picture, of one reported without a switch.

    dash.js reports the latest change, even that of the sound.
    """
    return playback.bps or bps if bps == playback.audio_bps else bps


def _observe_rendition(out: ObservationBuilder, signal: Signal, bps: float | None) -> None:
    assert signal.rendition is not None, "the signal has a rendition"
    if bps is not None:
        out.observe(ObservationKind.RENDITION, bps)
    height = signal.rendition.height
    if height is not None:
        out.observe(ObservationKind.RENDITION_SHOWN, None, resolution_name(height or None))


def _observe_switch(
    playback: Playback,
    out: ObservationBuilder,
    switch: Switch,
    bps: float | None,
    height: float | None,
) -> bool:
    """Observes a switch; returns whether the rendition is another one, or a first one."""
    before_bps, before_height = switch.previous_bps or playback.bps, playback.height
    direction = _direction(before_bps, bps) or _direction(before_height, height or None)
    if direction is None and (switch.previous_bps is not None or switch.trigger is not None):
        direction = "same"  # the page reports a switch
    if direction is None:
        return before_bps is None and before_height is None
    playback.upshifts += direction == "upshift"
    playback.downshifts += direction == "downshift"
    out.observe(ObservationKind.QUALITY_SWITCH, bps, direction, switch.trigger or "unknown")
    if before_bps is not None:
        out.observe(ObservationKind.RENDITION_REPLACED, before_bps)
    return True


def _keep_rendition(playback: Playback, signal: Signal, bps: float | None) -> None:
    new = signal.rendition
    assert new is not None, "the signal has a rendition"
    if signal.kind is not SignalKind.PROGRESS or playback.bps is None:
        playback.bps = bps or playback.bps
    playback.height = new.height or playback.height
    if new.fps is not None and new.fps <= MAX_COUNTED_FPS:
        playback.fps = new.fps
    if new.upscale is not None:
        playback.upscale, playback.downscale = new.upscale, new.downscale


def _direction(before: float | None, after: float | None) -> str | None:
    if before is None or after is None or before == after:
        return None
    return "upshift" if after > before else "downshift"

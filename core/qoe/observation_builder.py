"""Observations of several signals: facts one by one, times as sums."""

from typing import Final

from .fields import resolution_name
from .observation import NO_EVENT, Observation
from .playback_state import Mark
from .view import View
from .vocabulary import ObservationKind

DIGITS: Final = 12
"""Digits after the point of a value: without the rounding error of a sum, which would move it
across the bound of a bucket."""

_SUMS = (
    ObservationKind.WATCHED,
    ObservationKind.STARTUP_WAIT,
    ObservationKind.MEDIA_PLAYED,
    ObservationKind.BITS_PLAYED,
    ObservationKind.BITRATE_KNOWN,
    ObservationKind.SCALE_KNOWN,
    ObservationKind.UPSCALED,
    ObservationKind.DOWNSCALED,
    ObservationKind.FRAMES_EXPECTED,
    ObservationKind.EXPECTED_FRAMES_DROPPED,
)
"""What a builder sums up. A table: in Python 3.11 an enum's look-up takes as long as two calls."""


class ObservationBuilder:
    """Collects the observations of one view.

    Times are summed up, so that a batch leads to one observation of each, not one for each signal.
    """

    __slots__ = (
        "_bits",
        "_downscaled",
        "_frames",
        "_known",
        "_media",
        "_out",
        "_renditions",
        "_scale",
        "_starting",
        "_upscaled",
        "_view",
        "_watched",
    )

    def __init__(self, view: View) -> None:
        self._view = view
        self._out: list[Observation] = []
        self._watched = self._starting = self._media = 0.0
        self._bits = self._known = 0.0
        self._scale = self._upscaled = self._downscaled = 0.0
        self._frames = 0.0
        self._renditions: dict[str, float] = {}

    def observe(
        self,
        kind: ObservationKind,
        value: float | None = None,
        label: str = "",
        detail: str = "",
    ) -> None:
        """Adds a fact."""
        if value is not None:
            value = round(value, DIGITS)
        self._out.append(Observation(kind, NO_EVENT, self._view, value, label, detail))

    def add_observations(self, observations: list[Observation]) -> None:
        """Adds finished observations."""
        self._out += observations

    def add_startup_wait(self, seconds: float) -> None:
        """Adds seconds between a play request and its first frame, or its end without one."""
        self._starting += seconds

    def add_rebuffering(self, seconds: float) -> None:
        """Adds seconds of rebuffering."""
        self._watched += seconds

    def add_media(self, seconds: float) -> None:
        """Adds media time played that no running total reports, s."""
        self._media += seconds

    def add_playing(self, seconds: float) -> None:
        """Adds seconds of playing, in the rendition of the moment."""
        if not seconds:
            return
        playback = self._view.playback
        playback.playing_s += seconds
        self._watched += seconds
        if playback.has(Mark.WITHOUT_TOTALS):
            self._media += seconds * playback.rate
        if playback.bps is not None:
            self._bits += seconds * playback.bps
            self._known += seconds
        if playback.height is not None:
            name = resolution_name(playback.height)
            self._renditions[name] = self._renditions.get(name, 0.0) + seconds
        if playback.upscale is not None:
            upscaled = seconds * playback.upscale
            self._scale += seconds
            self._upscaled += upscaled
            self._downscaled += seconds * (playback.downscale or 0.0)
            playback.scale_s += seconds
            playback.upscale_s += upscaled
            if playback.upscale > playback.max_upscale:
                playback.max_upscale = playback.upscale
        if playback.fps is not None:
            self._frames += seconds * playback.fps

    def build(self) -> list[Observation]:
        """Returns what was observed, sums of times last."""
        view, out, playback = self._view, self._out, self._view.playback
        frames_dropped: float = 0
        if playback.fps is not None:
            frames_dropped, playback.dropped_waiting = playback.dropped_waiting, 0
        elif not playback.window:  # else the rendition may be in a signal that waits
            playback.dropped_waiting = 0
        playback.media_s += self._media
        playback.bits += self._bits
        playback.bits_s += self._known
        sums = (
            self._watched,
            self._starting,
            self._media,
            self._bits,
            self._known,
            self._scale,
            self._upscaled,
            self._downscaled,
            self._frames,
            frames_dropped,
        )
        for kind, value in zip(_SUMS, sums, strict=True):
            if value:
                out.append(Observation(kind, NO_EVENT, view, value))
        for name, seconds in self._renditions.items():
            kind = ObservationKind.RENDITION_PLAYED
            out.append(Observation(kind, NO_EVENT, view, seconds, name))
        return out

"""Derives the governed labels of an event's metrics and of its log stream.

Most events share their labels with many others, so label sets are cached by raw values: one
look-up instead of a dozen governed labels.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ..config.log_labels import LOG_LABELS, STREAM_LABELS
from ..events.cmcd_record import CmcdEvent
from ..events.event_types import Event, Text
from ..governance.governor import Governor
from ..metrics.registry import Group, ProvisionalLabel
from ..metrics.series import Labels
from ..primitives.incremental import IncrementalWork
from ..primitives.interning import Interner
from ..primitives.memory_size import memory_size
from ..wire.loki_push import format_labels

METRIC_LABELS: Final = (
    "org_id",
    "player_id",
    "env",
    "app_name",
    "app_version",
    "device_category",
    "os_family",
    "browser_family",
    "player_name",
    "network_country",
    "video_id",
    "content_type",
)

MAX_LABEL_BYTES = 2048
"""Maximum length of a label value in Loki and Mimir."""

INVALID_REPLACEMENT = "?"

MAX_CACHE_BYTES = 18 * 1024 * 1024
"""Approximate bytes of the cache; clients choose the raw values, so it is bounded. It has room for
7,500 label sets of usual length."""

LABEL_SET_BYTES = 1024
"""Approximate bytes of a cached label set with its group, besides the raw values."""

MAX_INTERNED_BYTES = 4 * 1024 * 1024
"""Approximate bytes of interned labels. Equal labels that are separate objects would miss the
processor's cache when a snapshot looks up their numbers."""

CACHE_LIFETIME = 3_600_000
"""ms until the cache is reset, so that governance sees which values are in use."""

_CONTENT_TYPES = {"v": "vod", "l": "live", "ll": "live", "on-demand": "vod", "ondemand": "vod"}


class LabelSet(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The labels of all events with the same raw values.

    There are as many as groups, and the garbage collector ignores them, too.

    Attributes:
        group: Base labels of the metrics, with their series.
        stream: Labels of the log stream, without event_type.
        metadata: The other labels of log entries, without event_type, encoded.
        streams: Formatted stream labels by event type.
    """

    group: Group
    stream: Labels
    metadata: bytes
    streams: dict[str, str] = {}


class LabellerState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A labeller in a snapshot, without its caches (see ``core/engine/snapshot``)."""

    shortened: int
    cache_started_at: int


class Labeller:
    """Finds the label sets of events.

    Attributes:
        shortened: Label values cut to the receivers' limit, counted when a label set is created;
            never decreases.
    """

    def __init__(
        self,
        governor: Governor,
        extra_labels: tuple[str, ...],
        *,
        instance: str = "",
        stream_labels: tuple[str, ...] = STREAM_LABELS,
        encode_metadata: Callable[[Labels], bytes] | None = None,
    ) -> None:
        """
        Args:
            governor: Governs label values.
            extra_labels: Further labels of metrics.
            instance: The worker's label; "" for none.
            stream_labels: The labels of log streams.
            encode_metadata: Encodes the structured metadata of log entries, if they have any.
        """
        self._governor = governor
        self._extra_labels = extra_labels
        self._stream_labels = frozenset(stream_labels)
        self._instance = (("instance", label_text(instance)),) if instance else ()
        self._encode_metadata = encode_metadata
        self._sets: dict[object, LabelSet] = {}
        self._groups: dict[Labels, Group] = {}
        self._cached_bytes = 0
        self._interner = Interner(MAX_INTERNED_BYTES)
        self._discarded: list[dict[object, LabelSet] | dict[Labels, Group]] = []
        self._cache_started_at = 0
        self.shortened = 0

    def capture_state(self) -> LabellerState:
        """Captures the state for a snapshot."""
        return LabellerState(self.shortened, self._cache_started_at)

    def restore_state(self, state: LabellerState) -> None:
        """Restores a captured state."""
        self.shortened, self._cache_started_at = state.shortened, state.cache_started_at

    def find_label_set(self, event: Event, country: str | None, now: int) -> LabelSet:
        """Finds or creates the label set of an event.

        Args:
            event: The event.
            country: The viewer's country according to a CDN's header.
            now: Current time in ms.
        """
        # The sub-objects hash by their fields, in C.
        video = event.video
        key = (
            event.org_id,
            event.player_id,
            event.env,
            event.app_name,
            event.app_version,
            event.device,
            event.os,
            event.browser,
            event.player,
            event.network,
            # Title and URL of a video would only multiply the keys of equal labels.
            None if video is None else (video.id, video.content_type, video.stream_type),
            event.cmcd,
            country,
            (event.session_id, event.view_id, event.viewer_id, video, _cdn(event))
            if self._extra_labels
            else None,
        )
        found = self._sets.get(key)
        if found is None:
            found, is_provisional = self._create_label_set(event, country, now)
            self._reserve(LABEL_SET_BYTES + memory_size(key), now)
            if not is_provisional:
                self._sets[key] = found
        return found

    def stream_labels(self, labels: LabelSet, event_type: str, now: int) -> str:
        """The formatted labels of the log stream of an event."""
        found = labels.streams.get(event_type)
        if found is None:
            governed = self._governor.govern("event_type", label_text(event_type), now)
            is_provisional = isinstance(governed, ProvisionalLabel)
            own = (("event_type", governed),) if governed else ()
            # Loki discards entries of a stream without labels.
            pairs = sorted((*labels.stream, *own)) or self._instance
            found = format_labels(pairs)
            if not is_provisional:
                self._reserve(memory_size(event_type) + memory_size(found), now)
                labels.streams[event_type] = found
        return found

    def find_group(self, labels: Labels) -> Group:
        """Finds or creates the group with these base labels."""
        group = self._groups.get(labels)
        if group is None:
            group = self._groups[labels] = Group(labels)
        return group

    def is_cache_stale(self, now: int) -> bool:
        """Whether the cache is due for a reset, because of its age."""
        return now - self._cache_started_at >= CACHE_LIFETIME

    def reset_cache(self, now: int) -> None:
        """Discards all cached label sets."""
        # Those of an earlier reset are freed at once, so that only one cache waits to be freed.
        self._discarded = [self._sets, self._groups]
        self._sets, self._groups = {}, {}
        self._cached_bytes = 0
        self._cache_started_at = now

    def free_discarded(self) -> IncrementalWork[None]:
        """Frees discarded cache entries step by step: all at once would be a pause."""
        while self._discarded:
            discarded = self._discarded.pop()
            while discarded:
                discarded.popitem()
                yield 1

    def _reserve(self, size: int, now: int) -> None:
        """Resets the cache if an entry of this size would exceed its bound."""
        if self._cached_bytes + size > MAX_CACHE_BYTES:
            self.reset_cache(now)
        self._cached_bytes += size

    def _create_label_set(
        self, event: Event, country: str | None, now: int
    ) -> tuple[LabelSet, bool]:
        """Creates a label set; also returns whether a label of it is provisional."""
        raw = _raw_values(event, country)
        organisation, view = label_text(event.org_id), event.view_id
        is_provisional = False
        governed: dict[str, tuple[str, str]] = {}
        for name in (*METRIC_LABELS, *self._extra_labels):
            value = raw.get(name)
            text = label_text(value)
            self.shortened += isinstance(value, str) and len(text) < len(value)
            if text and (label := self._governor.govern(name, text, now, organisation, view)):
                is_provisional |= isinstance(label, ProvisionalLabel)
                governed[name] = self._interner.intern((name, str(label)))
        log_labels = (*self._instance, *(governed[n] for n in LOG_LABELS if n in governed))
        metadata = b""
        if self._encode_metadata is not None:
            others = tuple(pair for pair in log_labels if pair[0] not in self._stream_labels)
            metadata = self._interner.intern(self._encode_metadata(others))
        label_set = LabelSet(
            self.find_group(tuple(sorted(governed.values()))),
            tuple(pair for pair in log_labels if pair[0] in self._stream_labels),
            metadata,
        )
        return label_set, is_provisional


def label_text(value: Text) -> str:
    """Converts a raw value to label text that every receiver accepts.

    It is cut to the receivers' limit between characters. U+FFFD, which lone surrogates become,
    is replaced: the lexer of Prometheus and Loki reads it as invalid UTF-8, and Loki rejects the
    whole push.
    """
    text = "" if value is None else str(value)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode().replace("\ufffd", INVALID_REPLACEMENT)
    if len(text) * 4 <= MAX_LABEL_BYTES:
        return text
    return text.encode("utf-8", "replace")[:MAX_LABEL_BYTES].decode("utf-8", "ignore")


def _raw_values(event: Event, country: str | None) -> dict[str, Text]:
    network, video = event.network, event.video
    own_country = None if network is None else (network.country_code or network.country)
    return {
        "org_id": event.org_id,
        "player_id": event.player_id,
        "env": event.env,
        "app_name": event.app_name,
        "app_version": event.app_version,
        "device_category": event.device.category if event.device else None,
        "os_family": event.os.family if event.os else None,
        "browser_family": event.browser.family if event.browser else None,
        "player_name": event.player.name if event.player else None,
        "network_country": own_country or country,
        "network_region": network.region if network else None,
        "cdn": _cdn(event),
        "video_id": video.id if video else None,
        "video_title": video.title if video else None,
        "video_source_url": video.source_url if video else None,
        "content_type": _content_type(event),
        "session_id": event.session_id,
        "view_id": event.view_id,
        "viewer_id": event.viewer_id,
    }


def _cdn(event: Event) -> str | None:
    """The CDN of a media request: as reported, else the host."""
    if not isinstance(event, CmcdEvent):
        return None
    record = event.record
    if record.cdn or record.h or not record.url:
        return record.cdn or record.h
    try:
        return urlsplit(record.url).hostname
    except ValueError:  # a bracket without an address
        return None


def _content_type(event: Event) -> Text:
    value: Text = None
    if event.video is not None:
        value = event.video.content_type or event.video.stream_type
    if value is None and event.cmcd is not None:
        value = event.cmcd.st
    if value is None:
        return None
    text = str(value).lower()
    return _CONTENT_TYPES.get(text, text)

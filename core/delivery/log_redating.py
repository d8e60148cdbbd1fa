"""Redates log entries that are too far behind those already sent, so that Loki accepts them."""

from .payload import Payload, PayloadRedater

MINUTE = 60_000

MAX_BEHIND = 51 * MINUTE
"""ms by which an entry may be behind those sent before. Loki accepts an hour, and the newest entry
may be nine minutes ahead of us."""

REDATED_BEHIND = 30 * MINUTE
"""ms by which redated entries are behind, so that they stay acceptable for some time."""

MAX_ENTRY_AGE = 7 * 24 * 60 * MINUTE - 60 * MINUTE
"""Maximum age of an entry in ms. Loki rejects entries older than a week."""


class LateEntryRedater:
    """Redates the late entries of the payloads of one queue, when they are sent.

    Attributes:
        newest_sent: Creation of the newest payload that was sent, ms.
    """

    def __init__(self, redate: PayloadRedater, *, has_own_streams: bool) -> None:
        """
        Args:
            redate: Gives entries before a time another timestamp.
            has_own_streams: Whether no other worker sends entries of the same streams.
        """
        self._redate = redate
        self._has_own_streams = has_own_streams
        self.newest_sent = 0

    def redate_late_entries(self, payload: Payload, now: int) -> Payload:
        """The payload as it should be sent now."""
        newest = self.newest_sent if self._has_own_streams else now
        self.newest_sent = max(self.newest_sent, payload.created)
        earliest = now - MAX_ENTRY_AGE
        if payload.created + MINUTE < newest:
            earliest = max(earliest, newest - MAX_BEHIND)
        if payload.created - MAX_BEHIND >= earliest:
            return payload
        at = max(newest, now - MAX_ENTRY_AGE) - REDATED_BEHIND
        return self._redate(payload, earliest, at)

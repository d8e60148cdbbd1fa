"""Reloading of the keys file: when it is read again, and what an invalid one does (nothing)."""

from typing import Final

from ..effects import KeysFile, Notice, ReadKeys
from .key_ring import KeyRing
from .keys_file import KeysFileError

RELOAD_INTERVAL: Final = 5_000
"""ms between two looks at the file: a revoked key works for this long at the most."""

MAX_FAULTS: Final = 10
"""Maximum faults named in one notice."""


class KeysReload:
    """Asks for the file at intervals and updates the key ring.

    Args:
        ring: The keys.
        notices: Receives notices for the operator.
        is_used: Whether there is a file.
    """

    def __init__(self, ring: KeyRing, notices: list[Notice], *, is_used: bool) -> None:
        self._ring = ring
        self._is_used = is_used
        self._due: int | None = None
        self._pending: int | None = None
        self._reported: tuple[str, ...] = ()
        self._notices = notices

    def start(self, now: int) -> None:
        """Start the interval: the file has just been read."""
        if self._is_used:
            self._due = now + RELOAD_INTERVAL

    @property
    def next_poll(self) -> int | None:
        """When the file is to be read, ms; None while it is being read, or if there is none."""
        return self._due

    def next_effect(self, effect_id: int, now: int) -> ReadKeys | None:
        """Return the effect that reads the file, if that is due."""
        if self._due is None or now < self._due:
            return None
        self._due, self._pending = None, effect_id
        return ReadKeys(effect_id)

    def complete(self, effect_id: int, result: KeysFile, now: int) -> None:
        """Process the file. A fault is reported once, and again when it changes."""
        if effect_id != self._pending:
            return
        self._pending, self._due = None, now + RELOAD_INTERVAL
        faults: tuple[str, ...] = ()
        try:
            if result.content is None:
                faults = (result.reason,)
            elif self._ring.update(result.content):
                keys = ("keys", len(self._ring.keys))
                self._notices.append(Notice("info", "keys file was loaded again", (keys,)))
            elif self._reported:
                self._notices.append(Notice("info", "keys file is valid again"))
        except KeysFileError as error:
            faults = error.faults
        if faults and faults != self._reported:
            event = "keys file cannot be used; the keys before stay"
            reason = ("reason", "; ".join(faults[:MAX_FAULTS]))
            self._notices.append(Notice("error", event, (reason,)))
        self._reported = faults

"""Erasure of a viewer from the files of the data directory, in a thread."""

import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Erased, EraseViewer, ErasureStep
from openqoe.embedded import FILE
from openqoe.embedded.viewer_erasure import erase_viewer

from ..storage import Slots
from . import logs

Report = Callable[[EraseViewer, Erased], None]

EMBEDDED: Final = "embedded store"


def erase_embedded(config: Config, org_id: str, viewer_ids: Collection[str]) -> ErasureStep:
    """Erase a viewer from the embedded store."""
    try:
        deleted, is_complete = erase_viewer(Path(config.data_dir) / FILE, org_id, viewer_ids)
    except (sqlite3.Error, OSError) as error:
        return ErasureStep(EMBEDDED, False, f"failed: {error}")
    if not is_complete:
        text = f"{deleted} events deleted; its log is in use and keeps their bytes"
        return ErasureStep(EMBEDDED, False, text)
    return ErasureStep(EMBEDDED, True, f"{deleted} events deleted")


def slot_in_use(number: int) -> ErasureStep:
    """Return the step of a slot that another process owns."""
    text = "in use: it may hold events of the last moments until its next flush"
    return ErasureStep(f"slot {number}", False, text)


class ErasureThread:
    """Executes ``EraseViewer``. The thread starts with the first one.

    Args:
        config: The settings.
        log: The log.
        own_slot: The slot of this process; None without one.
    """

    def __init__(self, config: Config, log: logs.Log, own_slot: int | None) -> None:
        self._config = config
        self._log = log
        self._own_slot = own_slot
        self._pool = ThreadPoolExecutor(1, "openqoe-erasure")

    def start(self, report: Report) -> None:
        """Start; ``report`` is called in the thread with each result."""
        self._report = report

    def submit(self, effect: EraseViewer) -> None:
        """Queue an erasure. Does not wait."""
        self._pool.submit(self._erase, effect)

    def close(self) -> None:
        """End the thread after the erasure that runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _erase(self, effect: EraseViewer) -> None:
        try:
            steps = (
                erase_embedded(self._config, effect.org_id, effect.viewer_ids),
                *self._other_slots(),
            )
        except Exception as error:
            self._log.exception("erasure failed")
            steps = (ErasureStep(EMBEDDED, False, f"failed: {type(error).__name__}"),)
        self._report(effect, Erased(steps))

    def _other_slots(self) -> list[ErasureStep]:
        """Return the steps of the slots of other workers: only they can flush them."""
        if self._config.durability == "memory":
            return []
        numbers = Slots(Path(self._config.data_dir)).numbers()
        return [slot_in_use(number) for number in numbers if number != self._own_slot]

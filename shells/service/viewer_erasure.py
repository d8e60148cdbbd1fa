"""Erasure of a viewer from the files of the data directory, and by the workers of its slots."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from openqoe.core.cluster.forwarding import slot_name
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Erased, EraseViewer, Erasing, ErasureStep
from openqoe.core.engine.erasure import EMBEDDED, OTHER_SLOTS, decode_steps, encode_request
from openqoe.embedded import FILE
from openqoe.embedded.viewer_erasure import erase_viewer, rewrite_file

from ..net import peer_socket
from ..storage import Slot, Slots, StorageError, inspect_slot
from . import logs

Report = Callable[[Erasing, Erased], None]

FORWARD_TIMEOUT = 5.0
"""Seconds that the worker of another slot may take to forward (``erasure.FORWARD_WAIT``)."""

ERASE_TIMEOUT = 20.0
"""Seconds that it may take to flush, deliver (``erasure.MAX_WAIT``) and rewrite its files."""

MAX_NAMES = 10
"""Maximum damaged files that are named."""


def erase_files(config: Config, org_id: str, viewer_ids: Sequence[str]) -> list[ErasureStep]:
    """Erase a viewer from the embedded store; name the files that are left for inspection."""
    folder = Path(config.data_dir)
    steps = [_erase_embedded(folder, org_id, viewer_ids)]
    if names := sorted(str(path.relative_to(folder)) for path in folder.rglob("*.damaged-*")):
        shown = ", ".join(names[:MAX_NAMES])
        text = f"{len(names)} may hold events of the viewer ({shown}): delete them"
        steps.append(ErasureStep("damaged files", False, text))
    return steps


def _erase_embedded(folder: Path, org_id: str, viewer_ids: Sequence[str]) -> ErasureStep:
    try:
        deleted, is_complete = erase_viewer(folder / FILE, org_id, viewer_ids)
    except (sqlite3.Error, OSError) as error:
        return ErasureStep(EMBEDDED, False, f"failed: {error}")
    if not is_complete:
        text = f"{deleted} events deleted; its log is in use and keeps their bytes"
        return ErasureStep(EMBEDDED, False, text)
    return ErasureStep(EMBEDDED, True, f"{deleted} events deleted")


def erase_in_slots(
    slots: Slots, numbers: Iterable[int], org_id: str, viewer_ids: tuple[str, ...]
) -> list[ErasureStep]:
    """Let the workers of slots erase a viewer.

    Args:
        slots: The slots of the data directory.
        numbers: Those whose workers are asked. One without a worker is erased if it holds neither
            views nor anything that waits.
        org_id: The viewer's organisation.
        viewer_ids: The forms in which the viewer's id may be stored.
    """
    owned: list[int] = []
    steps: list[ErasureStep] = []
    for number in numbers:
        try:
            slot = slots.claim_orphan(number)
            if slot is None:
                owned.append(number)
            else:
                steps.append(_rewrite_orphan(slot))
        except StorageError as error:
            steps.append(ErasureStep(slot_name(number), False, f"failed: {error}"))
    for only_forward, timeout in ((True, FORWARD_TIMEOUT), (False, ERASE_TIMEOUT)):
        if not owned:
            break
        body = encode_request(org_id, viewer_ids, only_forward=only_forward)
        with ThreadPoolExecutor(len(owned), "openqoe-erasure-peer") as pool:
            asked = list(pool.map(partial(_ask, slots, body, timeout), owned))
        steps += (step for one in asked for step in one)
        owned = [
            number
            for number, one in zip(owned, asked, strict=True)
            if all(step.is_complete for step in one)
        ]
    return steps


def _ask(slots: Slots, body: bytes, timeout: float, number: int) -> list[ErasureStep]:
    """Return what the worker of a slot did."""
    name = slot_name(number)
    try:
        with peer_socket.connect(slots.database_path(number).parent, timeout) as connection:
            status, answer = peer_socket.exchange(connection, body)
        if status == 200:
            return decode_steps(answer, name)
        reason = f"it answered with {status}"
    except (OSError, msgspec.DecodeError) as error:
        reason = str(error)
    text = f"its worker cannot be reached ({reason}) and may hold events of the viewer"
    return [ErasureStep(name, False, text)]


def _rewrite_orphan(slot: Slot) -> ErasureStep:
    """Rewrite the files of a slot without a worker, and release it."""
    name = slot_name(slot.number)
    try:
        contents = inspect_slot(slot.path)
        if contents.views or not contents.is_empty:
            text = "no worker runs there now, and it may hold events of the viewer: erase again"
            return ErasureStep(name, False, text)
        return ErasureStep(name, rewrite_slot(slot), "empty, and rewritten")
    finally:
        slot.release()


def rewrite_slot(slot: Slot) -> bool:
    """Rewrite the files of a slot that this process owns; returns whether no deleted bytes stay.

    Raises:
        StorageError: They cannot be rewritten.
    """
    if not slot.path.exists():
        return True
    try:
        with closing(sqlite3.connect(slot.path)) as database:
            return rewrite_file(database)
    except sqlite3.Error as error:
        raise StorageError(f"cannot rewrite {slot.path}: {error}") from None


class ErasureThread:
    """Executes ``EraseViewer`` and ``EraseInSlots``. The thread starts with the first one.

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

    def submit(self, effect: Erasing) -> None:
        """Queue an erasure. Does not wait."""
        self._pool.submit(self._erase, effect)

    def close(self) -> None:
        """End the thread after the erasure that runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _erase(self, effect: Erasing) -> None:
        try:
            steps = self._steps(effect)
        except Exception as error:
            self._log.exception("erasure failed")
            place = EMBEDDED if isinstance(effect, EraseViewer) else OTHER_SLOTS
            steps = [ErasureStep(place, False, f"failed: {type(error).__name__}")]
        self._report(effect, Erased(tuple(steps)))

    def _steps(self, effect: Erasing) -> list[ErasureStep]:
        if isinstance(effect, EraseViewer):
            return erase_files(self._config, effect.org_id, effect.viewer_ids)
        slots = Slots(Path(self._config.data_dir))
        others = [number for number in slots.numbers() if number != self._own_slot]
        return erase_in_slots(slots, others, effect.org_id, effect.viewer_ids)

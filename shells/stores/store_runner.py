"""Runs updates on a store in the background, and reports what came of them."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from openqoe.core.effects import KvFailure, KvResult, KvUpdate

from .store_interface import Store, StoreError

UpdateCallback = Callable[[KvUpdate, KvResult | KvFailure], None]


class StoreRunner(Protocol):
    """What a service has of a store."""

    def start(self, report: UpdateCallback) -> None:
        """Begin; ``report`` is called with the result of each update."""

    def submit(self, update: KvUpdate) -> None:
        """Run an update as soon as those before it are done. Never blocks."""

    def close(self) -> None:
        """End soon; updates that were submitted may be left undone."""


class StoreThread:
    """A store that blocks, in a thread of its own. ``report`` is called there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: SimpleQueue[KvUpdate | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    def start(self, report: UpdateCallback) -> None:
        """Begin."""
        self._thread = Thread(
            target=self._run_updates, args=(report,), name="openqoe-store", daemon=True
        )
        self._thread.start()

    def submit(self, update: KvUpdate) -> None:
        """Run an update as soon as those before it are done."""
        self._queue.put(update)

    def close(self) -> None:
        """End after the update that is under way."""
        self._closed = True
        if self._thread is None:
            self._store.close()
        else:
            self._queue.put(None)

    def _run_updates(self, report: UpdateCallback) -> None:
        while (update := self._queue.get()) is not None and not self._closed:
            report(update, run(self._store, update))
        self._store.close()


def run(store: Store, update: KvUpdate) -> KvResult | KvFailure:
    """Run an update now."""
    try:
        return KvResult(store.run(update.operations))
    except StoreError as error:
        return KvFailure(str(error))
    except Exception as error:  # a fault of ours, or a server that answers nonsense
        return KvFailure(f"{type(error).__name__}: {error}")

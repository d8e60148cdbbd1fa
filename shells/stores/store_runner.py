"""Runs updates on a store in a background thread and reports their results."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from openqoe.core.effects import KvFailure, KvResult, KvUpdate

from .store_interface import Store, StoreError

UpdateCallback = Callable[[KvUpdate, KvResult | KvFailure], None]


class StoreRunner:
    """Runs the updates of a store, which blocks, in a thread of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: SimpleQueue[KvUpdate | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    def start(self, report: UpdateCallback) -> None:
        """Start the thread, which calls ``report`` with the result of each update."""
        run, arguments = self._run_updates, (report,)
        self._thread = Thread(target=run, args=arguments, name="openqoe-store", daemon=True)
        self._thread.start()

    def submit(self, update: KvUpdate) -> None:
        """Run an update after those before it. Never blocks."""
        self._queue.put(update)

    def close(self) -> None:
        """End after the current update; later ones are discarded."""
        self._closed = True
        if self._thread is None:
            self._store.close()
        else:
            self._queue.put(None)

    def _run_updates(self, report: UpdateCallback) -> None:
        while (update := self._queue.get()) is not None and not self._closed:
            report(update, _run_update(self._store, update))
        self._store.close()


def _run_update(store: Store, update: KvUpdate) -> KvResult | KvFailure:
    try:
        return KvResult(store.run(update.operations))
    except StoreError as error:
        return KvFailure(str(error))
    except Exception as error:  # a fault of ours, or a malformed reply of a server
        return KvFailure(f"{type(error).__name__}: {error}")

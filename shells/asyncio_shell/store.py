"""The shared store on asyncio: Redis by its own asynchronous client, others in a thread."""

import asyncio

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import KvFailure, KvResult, KvUpdate

from ..service.extras import needs
from ..storage import StorageError
from ..stores.store_interface import StoreError
from ..stores.store_runner import StoreRunner, UpdateCallback
from ..stores.store_selection import open_store as open_in_thread
from ..stores.store_selection import store_kind


def open_store(config: Config, *, several: bool) -> StoreRunner | None:
    """See ``shells/stores/store_selection.open_store``."""
    if store_kind(config, several=several) == "redis":
        return RedisTask(config)
    return open_in_thread(config, several=several)


class RedisTask:
    """Runs updates in a task of the loop, one after the other."""

    def __init__(self, config: Config) -> None:
        with needs("redis"):
            from ..stores.redis_store import AsyncRedisStore
        try:
            self._store = AsyncRedisStore(config.kv_url, config.kv_prefix)
        except StoreError as error:
            raise StorageError(f"cannot use the shared store: {error}") from None
        self._updates: asyncio.Queue[KvUpdate] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self, report: UpdateCallback) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run_updates(report))

    def submit(self, update: KvUpdate) -> None:
        """Run an update as soon as those before it are done."""
        self._updates.put_nowait(update)

    def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    async def _run_updates(self, report: UpdateCallback) -> None:
        try:
            while True:
                update = await self._updates.get()
                report(update, await self._run(update))
        finally:
            await asyncio.shield(self._store.close())

    async def _run(self, update: KvUpdate) -> KvResult | KvFailure:
        try:
            return KvResult(await self._store.run(update.operations))
        except StoreError as error:
            return KvFailure(str(error))
        except Exception as error:  # a fault of ours, or a server that answers nonsense
            return KvFailure(f"{type(error).__name__}: {error}")

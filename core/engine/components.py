"""What a worker is made of: the parts, put together by the settings."""

from ..api.dashboard_access import DashboardAccess
from ..cluster.coordinator import Coordinator
from ..config.worker_config import Config
from ..metrics.health_metrics import Health
from .durability import Durability
from .export import ExportPipeline
from .ingest import Ingest


class EffectIds:
    """The numbers of effects, by which their results are told apart.

    Attributes:
        next: The number that the next effect gets.
    """

    def __init__(self) -> None:
        self.next = 1

    def take(self) -> int:
        """A number that no other effect has."""
        taken = self.next
        self.next += 1
        return taken


class Components:
    """The parts of a worker; for the arguments see ``Worker``.

    Attributes:
        config: The settings.
        instance: The ``instance`` label of every series.
        ids: The numbers of effects.
        health: What the worker measures of itself.
        persistence: What goes to disk; None if nothing does.
        outflow: Flushes and deliveries.
        ingest: Takes batches in.
        exchange: What is shared with other workers; None if there are none.
        dashboard: The rules of the dashboard; None if there is none.
    """

    def __init__(
        self,
        config: Config,
        *,
        instance: str,
        seed: int,
        durable: bool,
        shared: bool,
        embedded: bool,
    ) -> None:
        self.config = config
        self.instance = instance
        self.ids = EffectIds()
        self.health = Health()
        self.persistence: Durability | None = None
        if durable:
            self.persistence = Durability(config.dedup_window, config.dedup_max, shared=shared)
        self.outflow = ExportPipeline(
            config,
            self.health,
            self.persistence,
            instance=instance,
            seed=seed,
            embedded=embedded,
        )
        self.ingest = Ingest(config, self.health, self.outflow.log, self.persistence)
        self.outflow.export(self.ingest.registry, self.health.registry)
        self.exchange: Coordinator | None = None
        if shared:
            self.exchange = Coordinator(config, self.ingest, self.ingest.governor, instance)
            self.ingest.share(self.exchange.add, self.exchange.is_behind)
        self.dashboard: DashboardAccess | None = None
        if embedded and config.has_dashboard:
            self.dashboard = DashboardAccess(config.api_keys)

    @property
    def storage_failure(self) -> str:
        """What keeps the disk from being written to; "" if nothing."""
        return "" if self.persistence is None else self.persistence.failure

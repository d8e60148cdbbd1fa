"""The components of a worker, wired together by the settings."""

from ..access.key_ring import KeyRing
from ..access.tenants import Tenants
from ..cluster.coordinator import Coordinator
from ..cluster.forwarding import Forwarding
from ..cluster.partition import Partition
from ..config.worker_config import Config
from ..effects import Notice
from ..events.batch_queue import BatchQueue
from ..metrics.health_metrics import Health
from ..privacy.rules import PrivacyRules
from ..qoe.view_rows import ChangedViews
from .batch_applier import BatchApplier
from .destination_queues import DestinationQueues
from .durability import Durability
from .effect_ids import EffectIds
from .export import Exporter, create_log_buffer
from .flush_pace import FlushPace
from .forwarded_batches import ForwardedBatches
from .ingest import Ingest


class Components:
    """The components whose state a checkpoint holds; see ``Worker`` for the arguments.

    Attributes:
        config: The settings.
        ids: Numbers of effects.
        health: The worker's own metrics.
        queue: Batches from acceptance to effect.
        applier: Applies batches.
        ingest: Accepts batches.
        log: Where log entries gather; None if logs go nowhere.
        export: Turns series, log entries and rows of views into payloads.
        delivery: The queues of all destinations.
        tenants: Finds the tenants of organisations.
        privacy: The rules of privacy.
        pace: Judges whether flushes and deliveries keep up.
        durability: Orders what goes to disk; None if nothing does.
        coordinator: Synchronises with other workers; None if there are none.
        forwarding: Forwards batches to other workers of the host; None if views are not
            partitioned.
        forwarded: Accepts the batches that those forward.
        notices: Receives notices for the operator; the worker empties it.
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
        secret: bytes,
        partition: Partition | None,
        ring: KeyRing,
        notices: list[Notice],
    ) -> None:
        self.config = config
        self.notices = notices
        self.ids = EffectIds()
        self.health = health = Health()
        self.queue = queue = BatchQueue(claims=shared)
        self.durability = Durability(config.dedup_window, config.dedup_max) if durable else None
        self.tenants = tenants = Tenants(config, ring)
        self.log = log = create_log_buffer(config, tenants, embedded=embedded)
        self.delivery = delivery = DestinationQueues(
            config,
            log,
            self.durability,
            tenants,
            notices,
            seed=seed,
            embedded=embedded,
            slots=() if partition is None else partition.others,
        )
        self.forwarding: Forwarding | None = None
        if partition is not None:
            self.forwarding = Forwarding(partition, delivery.slots, delivery.offer_early)
        views = ChangedViews() if delivery.views else None
        self.applier = applier = BatchApplier(
            config,
            health,
            log,
            notices,
            instance=instance,
            changed_views=views,
            forwarding=self.forwarding,
        )
        registry = applier.registry
        self.export = Exporter(
            config, registry, health, log, views, delivery, tenants, notices, instance
        )
        self.coordinator: Coordinator | None = None
        if shared:
            governor = applier.governor
            self.coordinator = Coordinator(config, queue, applier, governor, notices, instance)
        self.privacy = PrivacyRules(config, secret)
        self.ingest = Ingest(
            config,
            self.ids,
            health,
            queue,
            applier,
            self.durability,
            self.coordinator,
            self.privacy,
            self.forwarding,
            notices,
        )
        self.forwarded = ForwardedBatches(self.ingest)
        self.pace = FlushPace(config.flush_interval, delivery.groups, notices)

    @property
    def storage_failure(self) -> str:
        """Why the disk cannot be written; "" if it can."""
        return "" if self.durability is None else self.durability.failure

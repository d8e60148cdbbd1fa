"""The components of a worker, wired together by the settings."""

from dataclasses import dataclass

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
from .batch_applier import BatchApplier
from .durability import Durability
from .effect_ids import EffectIds
from .export import ExportPipeline
from .flush_pace import FlushPace
from .forwarded_batches import ForwardedBatches
from .ingest import Ingest


@dataclass(frozen=True, slots=True)
class Components:
    """The components whose state a checkpoint holds.

    Attributes:
        config: The settings.
        ids: Numbers of effects.
        health: The worker's own metrics.
        queue: Batches from acceptance to effect.
        applier: Applies batches.
        ingest: Accepts batches.
        export: Turns series and log entries into payloads and delivers them.
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

    config: Config
    ids: EffectIds
    health: Health
    queue: BatchQueue
    applier: BatchApplier
    ingest: Ingest
    export: ExportPipeline
    tenants: Tenants
    privacy: PrivacyRules
    pace: FlushPace
    durability: Durability | None
    coordinator: Coordinator | None
    forwarding: Forwarding | None
    forwarded: ForwardedBatches
    notices: list[Notice]

    @property
    def storage_failure(self) -> str:
        """Why the disk cannot be written; "" if it can."""
        return "" if self.durability is None else self.durability.failure


def create_components(
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
) -> Components:
    """Create the components; see ``Worker`` for the arguments."""
    ids, health, queue = EffectIds(), Health(), BatchQueue(claims=shared)
    durability = Durability(config.dedup_window, config.dedup_max) if durable else None
    forwarding = None if partition is None else Forwarding(partition)
    tenants = Tenants(config, ring)
    export = ExportPipeline(
        config,
        health,
        durability,
        tenants,
        notices,
        instance=instance,
        seed=seed,
        embedded=embedded,
        forwarding=forwarding,
    )
    applier = BatchApplier(
        config,
        health,
        export.log,
        notices,
        instance=instance,
        changed_views=export.changed_views,
        forwarding=forwarding,
    )
    export.set_registries(applier.registry, health.registry)
    coordinator = None
    if shared:
        coordinator = Coordinator(config, queue, applier, applier.governor, notices, instance)
    privacy = PrivacyRules(config, secret)
    ingest = Ingest(
        config, ids, health, queue, applier, durability, coordinator, privacy, forwarding, notices
    )
    forwarded = ForwardedBatches(ingest)
    pace = FlushPace(config.flush_interval, export.groups, notices)
    return Components(
        config,
        ids,
        health,
        queue,
        applier,
        ingest,
        export,
        tenants,
        privacy,
        pace,
        durability,
        coordinator,
        forwarding,
        forwarded,
        notices,
    )

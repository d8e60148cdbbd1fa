"""Delivers what ended processes left in the slots of a data directory."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep

from openqoe.core.config.worker_config import Config
from openqoe.core.worker import Worker

from ..service import logs
from ..service.bootstrap import open_slot
from ..service.clock import monotonic
from ..service.orphan_recovery import open_orphaned_slots
from ..storage import Slots, StorageError
from ..wsgi_shell.service import Service

FORWARDING_FRACTION = 0.5
"""Fraction of the time in which batches must have been forwarded; delivery needs the rest."""

INTERVAL = 0.02
"""Seconds between two looks at the services."""


def deliver_slots(
    config: Config,
    log: logs.Log,
    timeout: float,
    *,
    is_final: bool = False,
    with_delivered: bool = False,
    prepare: Callable[[Worker], None] = lambda _: None,
) -> Counter[str]:
    """Deliver all slots without an owner that hold something, and return what remains.

    Batches that they forward to each other, or to slots of running processes, go there first.

    Args:
        config: The settings.
        log: The log.
        timeout: Seconds after which delivery is given up; each slot gets at least one.
        is_final: Whether no process is expected to continue: events that later ones might have
            explained are counted as they are.
        with_delivered: Whether to open slots without undelivered data as well.
        prepare: Is called with the worker of each slot before it starts.

    Returns:
        The undelivered items by destination.

    Raises:
        StorageError: The data directory or a slot cannot be used; all other slots were delivered.
    """
    end = monotonic() + timeout
    services: dict[int, Service] = {}
    undelivered: Counter[str] = Counter()
    faults: list[str] = []
    try:
        for runtime in open_orphaned_slots(
            config, log, with_delivered=with_delivered, faults=faults
        ):
            assert runtime.slot is not None, "an orphaned slot is a slot"
            prepare(runtime.worker)
            service = services[runtime.slot.number] = Service(runtime, log)
            service.start()
        give_up = monotonic() + FORWARDING_FRACTION * timeout
        while waiting := [one for one in services.values() if not one.worker.is_at_rest]:
            if monotonic() >= give_up:
                break
            _open_owners(config, log, waiting, services)
            sleep(INTERVAL)
    finally:
        for service in services.values():
            service.is_final = is_final
            service.close(max(1.0, end - monotonic()))
            undelivered.update(service.worker.undelivered)
    if faults:
        raise StorageError("; ".join(faults))
    return +undelivered


def _open_owners(
    config: Config, log: logs.Log, waiting: Iterable[Service], services: dict[int, Service]
) -> None:
    """Open the slots without an owner that batches are forwarded to."""
    names = {name for one in waiting for name, items in one.worker.undelivered.items() if items}
    for name in names:
        number = name.removeprefix("slot-")
        if number == name or int(number) in services:
            continue
        slot = Slots(Path(config.data_dir)).claim_orphan(int(number), create=True)
        if slot is None:
            continue  # its owner accepts them
        try:
            runtime = open_slot(config, slot, log)
        except BaseException:
            slot.release()
            raise
        services[slot.number] = Service(runtime, log)
        services[slot.number].start()

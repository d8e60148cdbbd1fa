"""``openqoe erase``: erases the events of one viewer, here and in Loki."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from openqoe.core.access.key_ring import KeyRing
from openqoe.core.access.keys_file import KeysFileError
from openqoe.core.cluster.forwarding import slot_name
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import ErasureStep
from openqoe.core.engine.erasure import org_labels, stored_forms
from openqoe.core.privacy.rules import PrivacyRules
from openqoe.core.privacy.viewer_erasure import (
    loki_deletions,
    loki_step,
    metrics_step,
)

from ..net.connection_policy import ConnectionPolicy
from ..net.httpx_client import Client
from ..service import logs
from ..service.clock import now_ms
from ..service.secret_files import load_keys, load_secret
from ..service.viewer_erasure import erase_files, erase_in_slots, rewrite_slot
from ..storage import Slots, StorageError
from .command_options import data_options, json_option, load_config
from .slot_delivery import deliver_slots
from .terminal_output import EXIT_FAILED, fail, say, say_json


@click.command()
@click.option("--org", "org_id", required=True, help="The viewer's organisation.")
@click.option("--viewer", "viewer_id", required=True, help="The viewer's id, as pages send it.")
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=60.0,
    help="Seconds after which the delivery of what waits is given up.",
)
@data_options
@json_option
def erase(
    org_id: str,
    viewer_id: str,
    timeout: float,
    data_dir: str | None,
    env_file: Path | None,
    as_json: bool,
) -> None:
    """Erase the events of one viewer, and list what was done where.

    First everything that ended processes left is delivered, so that it cannot arrive after the
    deletion; workers that run do the same with theirs. Then the viewer's events are deleted from
    the embedded store, whose file is rewritten, and Loki is asked to delete its entries. Exits with
    1 if something may be left.

    \b
    Examples:
      openqoe erase --org acme --viewer 4f1c --env-file /etc/openqoe.env
    """
    config, _ = load_config(env_file, OPENQOE_DATA_DIR=data_dir)
    log = logs.configure(config)
    try:
        fields = PrivacyRules(config, load_secret(config)).fields
        forms = stored_forms(fields, org_id, viewer_id)
        tenants = KeyRing(config, load_keys(config)).tenants
        found = [
            *_erase_in_slots(config, log, org_id, forms, timeout),
            *erase_files(config, org_id, forms),
            *asyncio.run(_erase_in_loki(config, tenants, org_id, forms)),
            metrics_step(config),
        ]
        steps = list(dict.fromkeys(found))  # one place may be asked several times
    except (StorageError, KeysFileError) as error:
        fail(str(error))
    if as_json:
        say_json([step._asdict() for step in steps])
    else:
        for place, _, text in steps:
            say(f"{place}: {text}")
    sys.exit(0 if all(done for _, done, _ in steps) else EXIT_FAILED)


def _erase_in_slots(
    config: Config, log: logs.Log, org_id: str, forms: tuple[str, ...], timeout: float
) -> list[ErasureStep]:
    """Deliver what ended processes left, and rewrite their files."""
    if config.durability == "memory":
        return []
    steps: list[ErasureStep] = []
    undelivered = deliver_slots(
        config,
        log,
        timeout,
        with_delivered=True,
        prepare=lambda worker: worker.forget_viewer(org_id, forms),
    )
    for name, items in undelivered.items():
        text = f"{items} items wait on disk for {name} and may hold events of the viewer"
        steps.append(ErasureStep(f"queue of {name}", False, text))
    slots = Slots(Path(config.data_dir))
    owned = []
    for number in slots.numbers():
        slot = slots.claim_orphan(number)
        if slot is None:
            owned.append(number)
            continue
        try:
            is_complete = rewrite_slot(slot)
        finally:
            slot.release()
        steps.append(ErasureStep(slot_name(number), is_complete, "delivered and rewritten"))
    return [*steps, *erase_in_slots(slots, owned, org_id, forms)]


async def _erase_in_loki(
    config: Config, tenants: Mapping[str, str], org_id: str, forms: tuple[str, ...]
) -> list[ErasureStep]:
    deletions = list(
        loki_deletions(config, tenants, org_id, org_labels(config, org_id), forms, now_ms())
    )
    if not deletions:
        return []
    client = Client(config.delivery_timeout, ConnectionPolicy.load(config))
    await client.open()
    try:
        return [
            one
            if isinstance(one, ErasureStep)
            else loki_step(one.destination, await client.send(one))
            for one in deletions
        ]
    finally:
        await client.close()

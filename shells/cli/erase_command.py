"""``openqoe erase``: erases the events of one viewer, here and in Loki."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import HttpResult, LokiPush
from openqoe.core.privacy.rules import PrivacyRules
from openqoe.core.privacy.viewer_erasure import loki_delete_url, viewer_forms
from openqoe.embedded import FILE
from openqoe.embedded.viewer_erasure import erase_viewer, rewrite_file

from ..net.connection_policy import ConnectionPolicy
from ..net.httpx_client import Client
from ..service import logs
from ..service.clock import now_ms
from ..service.secret_files import load_secret
from ..storage import Slots, StorageError
from .command_options import data_options, json_option, load_config
from .slot_delivery import deliver_slots
from .terminal_output import EXIT_FAILED, fail, say, say_json

Step = tuple[str, bool, str]
"""A place, whether nothing of the viewer is left there, and what was done."""


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
    deletion. Then the viewer's events are deleted from the embedded store, whose file is rewritten,
    and Loki is asked to delete its entries. A running worker may hold events of the last moments:
    stop it first, or run this again later. Exits with 1 if something may be left.

    \b
    Examples:
      openqoe erase --org acme --viewer 4f1c --env-file /etc/openqoe.env
    """
    config, _ = load_config(env_file, OPENQOE_DATA_DIR=data_dir)
    log = logs.configure(config)
    try:
        fields = PrivacyRules(config, load_secret(config)).fields
        forms = viewer_forms(fields, org_id, viewer_id)
        steps = [
            *_settle_slots(config, log, timeout),
            _erase_embedded(config, org_id, forms),
            *asyncio.run(_erase_in_loki(config, org_id, forms)),
            _describe_metrics(config),
        ]
    except StorageError as error:
        fail(str(error))
    if as_json:
        say_json([{"place": p, "is_complete": done, "result": text} for p, done, text in steps])
    else:
        for place, _, text in steps:
            say(f"{place}: {text}")
    sys.exit(0 if all(done for _, done, _ in steps) else EXIT_FAILED)


def _settle_slots(config: Config, log: logs.Log, timeout: float) -> list[Step]:
    """Deliver what ended processes left, and rewrite their files."""
    if config.durability == "memory":
        return []
    steps: list[Step] = []
    for name, items in deliver_slots(config, log, timeout).items():
        text = f"{items} items wait on disk for {name} and may hold events of the viewer"
        steps.append((f"queue of {name}", False, text))
    slots = Slots(Path(config.data_dir))
    for number in slots.numbers():
        slot = slots.claim_orphan(number)
        if slot is None:
            text = "in use: it may hold events of the last moments until its next flush"
            steps.append((f"slot {number}", False, text))
            continue
        try:
            with closing(sqlite3.connect(slots.database_path(number))) as database:
                is_complete = rewrite_file(database)
        finally:
            slot.release()
        steps.append((f"slot {number}", is_complete, "delivered and rewritten"))
    return steps


def _erase_embedded(config: Config, org_id: str, forms: list[str]) -> Step:
    place = "embedded store"
    try:
        deleted, is_complete = erase_viewer(Path(config.data_dir) / FILE, org_id, forms)
    except sqlite3.Error as error:
        return place, False, f"failed: {error}"
    if not is_complete:
        return place, False, f"{deleted} events deleted; its log is in use and keeps their bytes"
    return place, True, f"{deleted} events deleted"


async def _erase_in_loki(config: Config, org_id: str, forms: list[str]) -> list[Step]:
    destinations = [one for one in config.logs_destinations if not one.is_embedded]
    if not destinations:
        return []
    client = Client(config.delivery_timeout, ConnectionPolicy.load(config))
    await client.open()
    steps: list[Step] = []
    try:
        for destination in destinations:
            for form in forms:
                url = loki_delete_url(config, destination, org_id, form, now_ms())
                if url is None:
                    text = "its URL is not Loki's push endpoint; delete the entries there yourself"
                    steps.append((destination.name, False, text))
                    break
                effect = LokiPush(0, destination.name, url, destination.headers, b"")
                steps.append((destination.name, *_describe(await client.send(effect))))
    finally:
        await client.close()
    return steps


def _describe(result: Any) -> tuple[bool, str]:
    if not isinstance(result, HttpResult):
        return False, f"not reached: {result.reason}"
    if 200 <= result.status < 300:
        return True, "deletion requested; Loki's compactor carries it out within its own interval"
    text = result.body[:200].decode("utf-8", "replace").strip()
    return False, f"deletion refused with {result.status}: {text}; is it enabled in the compactor?"


def _describe_metrics(config: Config) -> Step:
    if "viewer_id" in config.extra_labels:
        text = "the label viewer_id (OPENQOE_EXTRA_LABELS) holds a hash of the id, and stays"
        return "metrics", False, text
    return "metrics", True, "hold no viewers"

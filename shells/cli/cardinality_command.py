"""``openqoe cardinality``: the values of labels, and which of them are always or never admitted."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from dotenv import set_key

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS, parse_cardinality_limits
from openqoe.core.config.declaration import SettingsError

from ..service.environment import environment
from .command_options import worker_options
from .terminal_output import EXIT_FAILED, EXIT_USAGE, say, say_json
from .worker_connection import WorkerError, fetch_json

SETTING: Final = "CARDINALITY_LIMITS"

LISTS: Final = ("allow", "deny")
"""Members of a dimension in the setting."""


@click.command()
@click.argument("action", type=click.Choice(["list", *LISTS, "forget"]))
@click.argument("dimension", required=False, type=click.Choice(list(DEFAULT_LIMITS)))
@click.argument("values", nargs=-1)
@worker_options("The worker; for list.", reads=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the worker's answer as JSON; for list."
)
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Change the setting in this file; without it, only print the new setting.",
)
@click.option("--dry-run", is_flag=True, help="Print the new setting and change nothing.")
def cardinality(
    action: str,
    dimension: str | None,
    values: tuple[str, ...],
    url: str,
    api_key: str,
    as_json: bool,
    env_file: Path | None,
    dry_run: bool,
) -> None:
    """List the values of labels; decide which are always or never admitted.

    list asks a running worker. The others change the setting CARDINALITY_LIMITS, which a worker
    reads when it starts: allow admits values always, without a place; deny never admits them and
    frees the places that they have; forget does neither any more.

    \b
    Examples:
      openqoe cardinality list
      openqoe cardinality list app_version
      openqoe cardinality deny app_version random-1 random-2 --env-file openqoe.env --dry-run
      openqoe cardinality allow app_version 4.2.0 --env-file openqoe.env
    """
    try:
        if action == "list":
            _list(url, api_key, dimension, as_json=as_json)
            return
        if dimension is None or not values:
            raise ValueError(f"{action} needs a dimension and at least one value")
        text = environment(env_file).get(SETTING, "")
        setting = _changed_setting(text, action, dimension, values)
        say(f"{SETTING}={setting}")
        if env_file is not None and not dry_run:
            _write_setting(env_file, setting)
    except WorkerError as error:
        say(f"openqoe: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except (OSError, ValueError, SettingsError) as error:
        say(f"openqoe: {error}", err=True)
        sys.exit(EXIT_USAGE)


def _list(url: str, api_key: str, dimension: str | None, *, as_json: bool) -> None:
    answer = fetch_json(url, "/stats", {"dimension": dimension} if dimension else {}, api_key)
    if as_json:
        say_json(answer)
    elif dimension:
        for value in answer.get("values") or ():
            say(str(value))
    else:
        limits: Mapping[str, Any] = answer.get("cardinality_limits") or {}
        for name, count in (answer.get("cardinality") or {}).items():
            most = (limits.get(name) or {}).get("max_cardinality")
            say(f"{name:<20} {count:>9} of {'any number' if most is None else most}")


def _changed_setting(text: str, action: str, dimension: str, values: tuple[str, ...]) -> str:
    """Return the setting with changed lists of one dimension.

    Raises:
        ValueError: The setting is invalid.
    """
    document: dict[str, Any] = json.loads(text) if text else {"limits": {}}
    parse_cardinality_limits(document)
    entries: dict[str, Any] = document.get("limits", document)
    entry: dict[str, Any] = entries.setdefault(dimension, {})
    for member in LISTS:
        known = [value for value in entry.pop(member, ()) if value not in values]
        if member == action:
            known += dict.fromkeys(values)
        if known:
            entry[member] = known
    if not entry:
        del entries[dimension]
    parse_cardinality_limits(document)
    return json.dumps(document, separators=(",", ":"))


def _write_setting(path: Path, setting: str) -> None:
    """Replace the setting in an env file; its other lines and its mode stay."""
    mode = path.stat().st_mode
    # Plain where possible: docker run --env-file takes quotes as part of the value.
    plain = not any(char in setting for char in " '#\\")
    set_key(path, SETTING, setting, quote_mode="never" if plain else "always")
    path.chmod(mode)

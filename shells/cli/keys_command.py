"""``openqoe keys``: the file of API keys."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final

import click

from openqoe.core.access.api_key import ApiKey, Scope, key_digest
from openqoe.core.access.keys_file import SETTING, KeysFileError, parse_keys_file

from .command_options import FILE, env_file_option, json_option, load_config
from .terminal_output import EXIT_FAILED, fail, say, say_json

KEY_BYTES: Final = 24
"""Random bytes of a key: 192 bits, so that a plain hash of it cannot be reversed."""


def file_options(command: Any) -> Any:
    """The options that say which file."""
    option = click.option("--file", type=FILE, help=f"The file ({SETTING}).")
    return option(env_file_option()(command))


@click.group()
def keys() -> None:
    """Make, list, revoke and check API keys with scopes, organisations and limits.

    A running worker sees a change of the file within seconds.

    \b
    Examples:
      openqoe keys new acme-web --scope ingest --org acme --file keys.json
      openqoe keys list --file keys.json
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; repeat it for several.",
)
@click.option("--org", "orgs", multiple=True, help="Organisation; repeat it. None: all of them.")
@click.option("--tenant", help="Tenant of these organisations in Mimir and Loki.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second.")
@click.option("--burst", type=click.IntRange(min=1), help="Events at once; default: 10 s' worth.")
@click.option("--quota", type=click.IntRange(min=1), help="Events a day (UTC).")
@click.option("--sample", type=click.FloatRange(0, 1), help="Fraction of views to accept.")
@file_options
def new(
    name: str,
    scopes: tuple[str, ...],
    orgs: tuple[str, ...],
    tenant: str | None,
    rate: float | None,
    burst: int | None,
    quota: int | None,
    sample: float | None,
    file: Path | None,
    env_file: Path | None,
) -> None:
    """Make a key, add its hash to the file, and print the key, which is stored nowhere.

    \b
    Examples:
      openqoe keys new acme-web --scope ingest --org acme --rate 200
      openqoe keys new grafana --scope read --scope logs
    """
    if burst is not None and rate is None:
        fail("--burst needs --rate")
    if any(number is not None and not isfinite(number) for number in (rate, sample)):
        fail("--rate and --sample must be finite numbers")
    path = _path(file, env_file)
    key = token_urlsafe(KEY_BYTES)
    entry: dict[str, Any] = {
        "sha256": key_digest(key).hex(),
        "name": name,
        "scopes": list(dict.fromkeys(scopes)),
    }
    if orgs:
        entry["orgs"] = list(dict.fromkeys(orgs))
    if tenant is not None:
        entry["tenant"] = tenant
    if rate is not None:
        entry["rate"] = {"events_per_second": rate}
        if burst is not None:
            entry["rate"]["burst"] = burst
    if quota is not None:
        entry["quota"] = {"events_per_day": quota}
    if sample is not None:
        entry["sample"] = sample
    with _locked(path):
        _write(path, [*(_read(path) if path.exists() else []), entry])
    say(key)


@keys.command("list")
@file_options
@json_option
def list_keys(file: Path | None, env_file: Path | None, as_json: bool) -> None:
    """Show the keys of the file, without their hashes.

    \b
    Examples:
      openqoe keys list --file keys.json
    """
    entries = _read(_path(file, env_file))
    if as_json:
        say_json([{k: v for k, v in entry.items() if k != "sha256"} for entry in entries])
        return
    for entry in entries:
        say(_describe(entry))
    if not entries:
        say("no keys")


@keys.command()
@click.argument("name")
@file_options
def revoke(name: str, file: Path | None, env_file: Path | None) -> None:
    """Revoke a key: it opens nothing any more, and its sessions end.

    \b
    Examples:
      openqoe keys revoke acme-web --file keys.json
    """
    path = _path(file, env_file)
    with _locked(path):
        entries = _read(path)
        found = [entry for entry in entries if entry["name"] == name]
        if not found:
            fail(f"there is no key {name}")
        found[0]["revoked"] = True
        _write(path, entries)
    say(f"{name} is revoked")


@keys.command()
@click.option("--key", envvar="OPENQOE_KEY", help="Say what this key opens (OPENQOE_KEY).")
@file_options
def check(key: str | None, file: Path | None, env_file: Path | None) -> None:
    """Check the file; say what a key opens.

    \b
    Examples:
      openqoe keys check --file keys.json
    """
    path = _path(file, env_file)
    entries = _read(path)
    if key is None:
        say(f"{path} is valid: {len(entries)} keys")
        return
    digest = key_digest(key).hex()
    found = [entry for entry in entries if entry["sha256"].lower() == digest]
    if not found:
        say(f"{path} has no such key", err=True)
        raise SystemExit(EXIT_FAILED)
    say(_describe(found[0]))
    if found[0].get("revoked"):
        raise SystemExit(EXIT_FAILED)


def _path(file: Path | None, env_file: Path | None) -> Path:
    if file is not None:
        return file
    config, _ = load_config(env_file)
    if config.keys_file is None:
        fail(f"name the file with --file, or set {SETTING}")
    return Path(config.keys_file)


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the entries of the file. Exits if it is missing or invalid."""
    try:
        content = path.read_bytes()
        _parse(content)
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    entries: list[dict[str, Any]] = json.loads(content)
    return entries


def _parse(content: bytes) -> tuple[ApiKey, ...]:
    try:
        return parse_keys_file(content)
    except KeysFileError as error:
        fail(str(error))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file: the later one would undo the earlier one."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    """Replace the file at once: a worker never reads a part of it. It keeps its mode and owner."""
    content = json.dumps(entries, indent=2).encode() + b"\n"
    _parse(content)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        before = path.stat() if path.exists() else None
        mode = 0o600 if before is None else before.st_mode & 0o777
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if before is not None:
                # An administrator changes the file; the user of the service must read it.
                with suppress(PermissionError):
                    os.chown(draft, before.st_uid, before.st_gid)
            draft.chmod(mode)
            draft.replace(path.resolve())
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")


def _describe(entry: dict[str, Any]) -> str:
    parts = [f"{entry['name']}: {', '.join(entry['scopes'])}"]
    parts.append("organisations " + ", ".join(entry["orgs"]) if "orgs" in entry else "all")
    if tenant := entry.get("tenant"):
        parts.append(f"tenant {tenant}")
    if rate := entry.get("rate"):
        parts.append(f"{rate['events_per_second']:g} events/s")
    if quota := entry.get("quota"):
        parts.append(f"{quota['events_per_day']} events/day")
    if (sample := entry.get("sample", 1)) != 1:
        parts.append(f"{sample:.0%} of views")
    if entry.get("revoked"):
        parts.append("revoked")
    return "; ".join(parts)

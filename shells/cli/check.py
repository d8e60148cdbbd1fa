"""``openqoe check``: would a worker with these settings work here?"""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from openqoe.core.api import startup_notices
from openqoe.core.config.declaration import SettingsError, declared_settings
from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.destination_probe import Finding
from openqoe.core.http import select_parser

from ..service import environment
from ..service.extras import MissingExtraError, needs
from . import host_checks
from .options import FILE
from .output import EXIT_FAILED, Colour, Painted, fail, say, say_json

LEVELS: Mapping[str, tuple[str, Colour]] = {
    "ok": ("OK  ", "green"),
    "warn": ("WARN", "yellow"),
    "fail": ("FAIL", "red"),
}


@click.command()
@click.option(
    "--env-file",
    type=FILE,
    help="Read settings from this file; the environment takes precedence.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(env_file: Path | None, as_json: bool) -> None:
    """Check settings, credentials, destinations, disk and limits before a worker needs them.

    Each destination gets a request without data, as the worker would send it, which leaves nothing
    behind. Each line says OK, WARN or FAIL, what is the matter, and what to do. Nothing that is
    secret is printed. Run it as the user and on the host that the worker will have.

    Exits with 1 if something is FAIL.

    \b
    Examples:
      openqoe check
      openqoe check --env-file /etc/openqoe.env
      openqoe check --json | jq '.findings[] | select(.level != "ok")'
    """
    try:
        variables = environment.environment(env_file)
    except OSError as error:
        fail(f"cannot read {env_file}: {error.strerror}")
    findings = []
    for finding in _findings(variables):
        findings.append(finding)
        if not as_json:
            _show(finding)
    counts = {level: sum(one.level == level for one in findings) for level in LEVELS}
    if as_json:
        shown = [
            {"level": one.level, "subject": one.subject, "text": one.text, "advice": one.advice}
            for one in findings
        ]
        say_json({"findings": shown, **counts})
    else:
        say(f"{counts['ok']} OK, {counts['warn']} WARN, {counts['fail']} FAIL")
    sys.exit(EXIT_FAILED if counts["fail"] else 0)


def _findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        config = Config.from_environment(environment)
    except SettingsError as error:
        for fault in error.faults:
            name, _, rest = fault.partition(" ")
            advice = "docs/configuration.md says what it may be"
            yield Finding("fail", f"setting {name}", rest, advice)
        return
    given = sum(setting.env in environment for setting in declared_settings(Config).values())
    yield Finding("ok", "settings", f"{given} given, none of them wrong")
    for notice in startup_notices.collect_notices(config, environment):
        if notice.level != "info":
            yield Finding("warn", "settings", _words(notice.event, notice.fields))
    try:
        with needs("fast"):
            select_parser(config.http_parser)
    except MissingExtraError as error:
        yield Finding("fail", "setting OPENQOE_HTTP_PARSER", str(error), "install it, or use auto")
    yield from host_checks.directory(config)
    yield from host_checks.limits(config)
    yield from host_checks.store(config)
    try:
        with needs("asyncio"):
            asking: Any = import_module("openqoe.shells.cli.probe_client")
        yield from asking.check(config)
    except MissingExtraError as error:
        yield Finding("fail", "destinations", str(error), "install it to have them checked")


def _words(event: str, fields: tuple[tuple[str, str | int | float], ...]) -> str:
    return event + "".join(f", {name} {value}" for name, value in fields)


def _show(finding: Finding) -> None:
    word, colour = LEVELS[finding.level]
    say(Painted(word, colour), f"  {finding.subject}: {finding.text}")
    if finding.advice:
        say("      ", Painted(f"→ {finding.advice}", "cyan"))

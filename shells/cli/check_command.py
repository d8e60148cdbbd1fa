"""``openqoe check``: whether a worker with these settings would work on this host."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import click

from openqoe.core.api import startup_notices
from openqoe.core.config.declaration import SettingsError, declared_settings
from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.destination_probe import Finding
from openqoe.core.http import select_parser

from ..service import environment
from ..service.extras import MissingExtraError, needs
from . import host_checks
from .cmcd_target_checks import check_target
from .command_options import env_file_option, json_option
from .destination_checks import check_destinations
from .terminal_output import EXIT_FAILED, Colour, Painted, fail, say, say_json

LEVELS: Mapping[str, tuple[str, Colour]] = {
    "ok": ("OK  ", "green"),
    "warn": ("WARN", "yellow"),
    "fail": ("FAIL", "red"),
}


@click.command()
@env_file_option("Read settings from this file; the environment has precedence.")
@click.option("--cmcd", metavar="URL", help="Check the URL of a player's CMCD target instead.")
@click.option(
    "--origin",
    default="",
    metavar="ORIGIN",
    help="With --cmcd, the origin of the player's page: https://www.example.com.",
)
@json_option
def check(env_file: Path | None, cmcd: str | None, origin: str, as_json: bool) -> None:
    """Verify settings, credentials, destinations, disk and limits before you start a worker.

    Each destination gets a request as the worker would send it, but without data. Each line says
    OK, WARN or FAIL, the reason, and the remedy. Secrets are not printed. Run it on the host and
    as the user of the worker.

    With --cmcd, verify the URL that a player without the SDK reports to: its query, and that a
    running worker accepts its records.

    Exits with 1 if a line says FAIL.

    \b
    Examples:
      openqoe check
      openqoe check --env-file /etc/openqoe.env
      openqoe check --cmcd 'https://qoe.example.com/v1/cmcd?api_key=K&org_id=acme&player_id=web'
      openqoe check --json | jq '.findings[] | select(.level != "ok")'
    """
    if cmcd is not None:
        source = check_target(cmcd, origin.rstrip("/"))
    else:
        source = _check_all(_variables(env_file))
    findings = []
    for finding in source:
        findings.append(finding)
        if not as_json:
            _print_finding(finding)
    counts = {level: sum(one.level == level for one in findings) for level in LEVELS}
    if as_json:
        say_json({"findings": [asdict(one) for one in findings], **counts})
    else:
        say(f"{counts['ok']} OK, {counts['warn']} WARN, {counts['fail']} FAIL")
    sys.exit(EXIT_FAILED if counts["fail"] else 0)


def _variables(env_file: Path | None) -> Mapping[str, str]:
    try:
        return environment.environment(env_file)
    except SettingsError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {env_file}: {error.strerror}")


def _check_all(environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        config = Config.from_environment(environment)
    except SettingsError as error:
        for fault in error.faults:
            name, _, rest = fault.partition(" ")
            advice = "see docs/configuration.md"
            yield Finding("fail", f"setting {name}", rest, advice)
        return
    given = sum(setting.env in environment for setting in declared_settings(Config).values())
    yield Finding("ok", "settings", f"{given} given, all valid")
    for notice in startup_notices.collect_notices(config, environment):
        if notice.level != "info":
            yield Finding("warn", "settings", _notice_text(notice.event, notice.fields))
    try:
        with needs("fast"):
            select_parser(config.http_parser)
    except MissingExtraError as error:
        yield Finding("fail", "setting OPENQOE_HTTP_PARSER", str(error), "install it, or use auto")
    yield from host_checks.check_data_directory(config)
    yield from host_checks.check_limits(config)
    yield from host_checks.check_shared_store(config)
    yield from check_destinations(config)


def _notice_text(event: str, fields: tuple[tuple[str, str | int | float], ...]) -> str:
    return event + "".join(f", {name} {value}" for name, value in fields)


def _print_finding(finding: Finding) -> None:
    word, colour = LEVELS[finding.level]
    say(Painted(word, colour), f"  {finding.subject}: {finding.text}")
    if finding.advice:
        say("      ", Painted(f"→ {finding.advice}", "cyan"))

"""``openqoe simulate``: simulated viewers for a running worker."""

import json
import shutil
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from openqoe.core.version import VERSION
from openqoe.simulator import Incident, Simulation, parse_incident, truth_report
from openqoe.simulator.incidents import KINDS

from ..service.clock import now_ms
from ..service.extras import MissingExtraError, needs
from ..service.logs import printable
from .options import FILE, is_http
from .options import duration as read_duration
from .output import EXIT_FAILED, fail, is_terminal, overwrite, say

OLDEST: Final = 23 * 3_600_000.0
"""ms into the past; workers refuse what is a day old."""

QUIET_EVERY: Final = 60
"""Seconds between two lines of progress where no terminal is."""


def _incidents(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Incident, ...]:
    incidents = []
    for value in values:
        try:
            if value != "none":
                incidents.append(parse_incident(value))
        except ValueError as error:
            message = f"{printable(value)}: {error}"
            raise click.BadParameter(message, context, parameter) from None
    return tuple(incidents)


@click.command()
@click.option(
    "--url",
    default="http://127.0.0.1:8787",
    show_default=True,
    help="The worker; with a path, everything is sent to that path.",
)
@click.option("--api-key", envvar="API_KEY", default="", help="The worker's key (API_KEY).")
@click.option(
    "--viewers",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="How many watch at once, about.",
)
@click.option(
    "--duration",
    callback=read_duration,
    metavar="DURATION",
    help="How long, in the viewers' time; without it, until Ctrl-C.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    help="Viewers' seconds a second, in the past; 0 is as fast as the worker takes it. "
    "Without it 1; with --history 0.",
)
@click.option(
    "--history",
    callback=read_duration,
    metavar="DURATION",
    help="Begin this long ago, and go on live once now is reached.",
)
@click.option(
    "--incident",
    "incidents",
    callback=_incidents,
    multiple=True,
    metavar="INCIDENT",
    default=("cdn@3m+10m/30m",),
    show_default=True,
    help='What goes wrong, as KIND[@AFTER][+LASTS][/EVERY], or "none"; repeatable. Kinds: '
    + "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    + ".",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="With another seed other things happen."
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Requests at once.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds that the worker has to be there.",
)
@click.option(
    "--truth", type=FILE, help="Write what the worker must have counted to this file, as JSON."
)
def simulate(
    url: str,
    api_key: str,
    viewers: int,
    duration: float | None,
    speed: float | None,
    history: float | None,
    incidents: tuple[Incident, ...],
    seed: int,
    connections: int,
    patience: float,
    truth: Path | None,
) -> None:
    """Let simulated viewers watch, and send a running worker what their players would send.

    They watch live and VOD on phones, desktops and televisions, with both generations of the SDK
    and five players, over good and bad networks; they pause, seek, lose patience and leave. All
    of it is made up, and says so: env="simulated". At the end, and on Ctrl-C, it prints what was
    sent, so that it can be compared with a dashboard or Prometheus.

    Events never lie in the future, so what goes faster than real time must lie in the past:
    --speed 60 --duration 1h tells the last hour in one minute. Metrics are sampled when they
    are flushed: of the past they show the totals, as one step; logs and views have its times.

    Exits with 1 if the worker could not be reached or did not take everything.

    \b
    Examples:
      openqoe simulate
      openqoe simulate --viewers 2000 --connections 64 --duration 5m
      openqoe simulate --speed 0 --duration 1h --truth truth.json
      openqoe simulate --history 2h --incident cdn@20m+10m/30m --incident release@1h+5m/2h
      openqoe simulate --url https://qoe.example.com --api-key K --incident none
    """
    if not is_http(url):
        fail(f"--url {printable(url)} is not an http or https URL")
    pace = (1.0 if history is None else 0.0) if speed is None else speed
    began_ago = _began_ago(pace, duration, history)
    simulation = Simulation(viewers, seed, round(now_ms() - began_ago), incidents)
    try:
        with needs("asyncio"):
            sender: Any = import_module("openqoe.shells.cli.simulation_client")
    except MissingExtraError as error:
        fail(str(error))
    if truth is not None:
        _check_writable(truth)
    plan = sender.Plan(
        url, api_key.partition(",")[0].strip(), pace, duration, connections, patience
    )
    tally = sender.Tally()
    progress = Progress(simulation, tally)
    sender.simulate(simulation, plan, tally, progress.show)
    progress.end()
    tell(tally)
    if truth is not None:
        _write(truth, simulation, tally)
    is_complete = tally.is_exact and tally.stopped in ("", "interrupted")
    sys.exit(0 if is_complete else EXIT_FAILED)


def _began_ago(speed: float, duration: float | None, history: float | None) -> float:
    """How long ago the viewers began, in ms."""
    if 0 < speed < 1:
        fail("--speed must be 0, 1 or more: the present cannot be slowed down")
    if history is not None:
        if speed == 1:
            fail("--history with --speed 1 would never reach the present")
        ago = history
    elif speed == 1:
        return 0.0
    elif duration is None:
        fail("--speed needs --duration or --history: events must not lie in the future")
    else:
        ago = duration - (duration / speed if speed else 0.0)
    if ago > OLDEST:
        fail("the viewers would begin more than 23h ago: workers refuse events of a day ago")
    return ago


class Progress:
    """One line on a terminal; elsewhere a plain line now and then."""

    def __init__(self, simulation: Simulation, tally: Any) -> None:
        self._simulation = simulation
        self._tally = tally
        self._is_terminal = is_terminal(err=True)
        self._ticks = 0
        self._sent = 0

    def show(self) -> None:
        """Is called every second."""
        self._ticks += 1
        if self._is_terminal:
            overwrite(self._text())
        elif self._ticks % QUIET_EVERY == 0:
            say(self._text(), err=True)

    def end(self) -> None:
        if self._is_terminal and self._ticks:
            overwrite("")

    def _text(self) -> str:
        tally = self._tally
        at = max(0.0, tally.virtual - self._simulation.start)
        rate, self._sent = tally.events - self._sent, tally.events
        parts = [f"simulated {_clock(at)}", f"{tally.events:,} events"]
        if self._is_terminal:
            parts.append(f"{rate:,}/s")
        if active := self._simulation.circumstances.active(tally.virtual):
            parts.append(f"incident: {', '.join(active)}")
        if tally.behind > 2:
            parts.append(f"{tally.behind:.0f} s behind: the worker is too slow")
        if tally.retries:
            parts.append(f"{tally.retries:,} retries")
        if tally.refused or tally.given_up:
            parts.append(f"{tally.refused + tally.given_up:,} batches not accepted")
        text = " · ".join(parts)
        return text[: shutil.get_terminal_size().columns - 1] if self._is_terminal else text


def _clock(ms: float) -> str:
    seconds = int(ms / 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def tell(tally: Any) -> None:
    """Say what was sent."""
    for problem in tally.problems:
        say(f"not accepted: {problem}", err=True)
    if tally.stopped and tally.stopped != "interrupted":
        say(f"openqoe: stopped: {tally.stopped}", err=True)
    rate = tally.events / tally.seconds if tally.seconds else 0.0
    parts = (
        (True, f"{tally.events:,} events in {tally.batches:,} batches accepted"),
        (True, f"in {tally.seconds:.1f} s ({rate:,.0f} events/s)"),
        (tally.copies, f"{tally.copies:,} batches sent twice"),
        (tally.late, f"{tally.late:,} late"),
        (tally.retries, f"{tally.retries:,} retries"),
        (tally.refused, f"{tally.refused:,} batches refused"),
        (tally.given_up, f"{tally.given_up:,} given up"),
    )
    say(", ".join(part for shown, part in parts if shown))
    if tally.batches:
        say("What the worker must have counted, and where:")
        for line in truth_report.lines(tally.truth):
            say(line.rstrip())
    if not tally.is_exact:
        say("Not exact: the worker may have counted more or less of what was not accepted.")


def _check_writable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")


def _write(path: Path, simulation: Simulation, tally: Any) -> None:
    metrics = tally.truth.as_json()
    tally.truth.expire()
    content = {
        "version": VERSION,
        "seed": simulation.seed,
        "viewers": simulation.viewers,
        "start": simulation.start,
        "end": round(tally.virtual),
        "written": round(time.time() * 1000),
        "exact": tally.is_exact,
        "events": tally.events,
        "batches": tally.batches,
        "metrics": metrics,
        "metrics_after_view_timeout": tally.truth.as_json(),
    }
    try:
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")

"""``openqoe simulate``: sends the events of simulated viewers to a running worker."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from openqoe.core.version import VERSION
from openqoe.simulator import (
    SMALL,
    WORLDS,
    Incident,
    Simulation,
    parse_incident,
    truth_report,
)
from openqoe.simulator.incidents import KINDS
from openqoe.simulator.world import count_devices

from ..service.clock import now_ms
from ..service.logs import printable
from .command_options import FILE, SEND_URL, worker_options
from .command_options import duration as duration_callback
from .simulation_sender import SimulationPlan, SimulationSender, SimulationTally
from .terminal_output import EXIT_FAILED, fail, is_terminal, overwrite, say, say_counts

OLDEST: Final = 23 * 3_600_000.0
"""Longest age of the start in ms; workers refuse events that are a day old."""

QUIET_EVERY: Final = 60
"""Seconds between two lines of progress where there is no terminal."""


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
@worker_options(SEND_URL)
@click.option(
    "--viewers",
    type=click.IntRange(1),
    default=50,
    help="Approximate number of viewers with an SDK who watch at once.",
)
@click.option(
    "--cmcd-viewers",
    type=click.IntRange(0),
    default=10,
    help="Further viewers, whose players report by CMCD without an SDK; none if the URL has a "
    "path, which is that of an SDK.",
)
@click.option(
    "--duration",
    callback=duration_callback,
    metavar="DURATION",
    help="Simulated time after which it ends; without it, Ctrl-C ends it.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    help="Simulated seconds per second while the simulated time is in the past; 0 is as fast as "
    "the worker accepts it. Default: 1; with --history 0.",
)
@click.option(
    "--history",
    callback=duration_callback,
    metavar="DURATION",
    help="Start so long ago, catch up with the present, then continue in real time.",
)
@click.option(
    "--incident",
    "incidents",
    callback=_incidents,
    multiple=True,
    metavar="INCIDENT",
    default=("cdn@3m+10m/30m",),
    help='Incident as KIND[@AFTER][+LASTS][/EVERY], or "none"; repeatable. Kinds: '
    + "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    + ".",
)
@click.option(
    "--world",
    "world_name",
    type=click.Choice(tuple(WORLDS)),
    default=SMALL.name,
    help="Audience of the sites: "
    + "; ".join(
        f"{name}: {len(world.countries)} countries, {count_devices(world)} combinations of device, "
        "system and browser"
        for name, world in WORLDS.items()
    )
    + ".",
)
@click.option("--seed", type=int, default=1, help="Seed of all random choices.")
@click.option(
    "--connections", type=click.IntRange(1, 1000), default=16, help="Requests in flight at once."
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=10.0,
    help="Seconds to wait at the start for a worker that does not answer.",
)
@click.option(
    "--truth",
    type=FILE,
    help="Write the metrics that the worker must have counted to this JSON file.",
)
def simulate(
    url: str,
    api_key: str,
    viewers: int,
    cmcd_viewers: int,
    duration: float | None,
    speed: float | None,
    history: float | None,
    incidents: tuple[Incident, ...],
    world_name: str,
    seed: int,
    connections: int,
    patience: float,
    truth: Path | None,
) -> None:
    """Send the events of simulated viewers to a running worker.

    The viewers watch live streams and VOD on phones, desktops and televisions, with both
    generations of the SDK and five players, and without an SDK by the CMCD of hls.js, dash.js and
    Shaka, over good and bad networks. They pause, seek, lose patience and leave. All events carry
    env="simulated". At the end, and on Ctrl-C, the command prints the metrics that the worker must
    have counted, for comparison with a dashboard or Prometheus.

    Events are never in the future, so a simulation that is faster than real time is in the past:
    --speed 60 --duration 1h sends the last hour in one minute. Metrics are sampled when they are
    flushed, so a past hour shows as one step in them; logs and views have the simulated times.

    Exits with 1 if the worker was not reachable or refused a batch.

    \b
    Examples:
      openqoe simulate
      openqoe simulate --viewers 2000 --connections 64 --duration 5m
      openqoe simulate --speed 0 --duration 1h --truth truth.json
      openqoe simulate --history 2h --incident cdn@20m+10m/30m --incident release@1h+5m/2h
      openqoe simulate --world large --viewers 500 --speed 0 --duration 30m
      openqoe simulate --url https://qoe.example.com --api-key K --incident none
    """
    if speed is None:
        speed = 1.0 if history is None else 0.0
    start_age = _start_age(speed, duration, history)
    start = round(now_ms() - start_age)
    if urlsplit(url).path not in ("", "/"):
        cmcd_viewers = 0
    simulation = Simulation(viewers, seed, start, incidents, WORLDS[world_name], cmcd_viewers)
    if truth is not None:
        _check_writable(truth)
    plan = SimulationPlan(url, api_key, speed, duration, connections, patience)
    tally = SimulationTally()
    progress = Progress(simulation, tally)
    SimulationSender(simulation, plan, tally, progress.show).run()
    progress.end()
    report(tally)
    if truth is not None:
        _write(truth, simulation, tally)
    is_complete = tally.is_exact and tally.stopped in ("", "interrupted")
    sys.exit(0 if is_complete else EXIT_FAILED)


def _start_age(speed: float, duration: float | None, history: float | None) -> float:
    """How long ago the simulation starts, in ms."""
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
        fail("the simulation would start more than 23h ago: workers refuse events of a day ago")
    return ago


class Progress:
    """Progress: a line that is replaced on a terminal; elsewhere a new line every minute."""

    def __init__(self, simulation: Simulation, tally: SimulationTally) -> None:
        self._simulation = simulation
        self._tally = tally
        self._is_terminal = is_terminal(err=True)
        self._ticks = 0
        self._sent = 0

    def show(self) -> None:
        """Show the progress. Is called every second."""
        self._ticks += 1
        if self._is_terminal:
            overwrite(self._text())
        elif self._ticks % QUIET_EVERY == 0:
            say(self._text(), err=True)

    def end(self) -> None:
        """Clear the line."""
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
        if tally.refused_batches or tally.given_up:
            parts.append(f"{tally.refused_batches + tally.given_up:,} batches not accepted")
        text = " · ".join(parts)
        return text[: shutil.get_terminal_size().columns - 1] if self._is_terminal else text


def _clock(ms: float) -> str:
    seconds = int(ms / 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def report(tally: SimulationTally) -> None:
    """Print the counts, and the metrics that the worker must have counted."""
    for problem in tally.problems:
        say(f"not accepted: {problem}", err=True)
    if tally.stopped and tally.stopped != "interrupted":
        say(f"openqoe: stopped: {tally.stopped}", err=True)
    say_counts(
        f"{tally.events:,} events in {tally.batches:,} batches accepted",
        f"in {tally.seconds:.1f} s ({tally.rate:,.0f} events/s)",
        (tally.copies, "batches sent twice"),
        (tally.late, "late"),
        (tally.retries, "retries"),
        (tally.refused_batches, "batches refused"),
        (tally.given_up, "given up"),
    )
    if tally.batches:
        say("The worker must have counted, by metric:")
        for line in truth_report.lines(tally.truth):
            say(line.rstrip())
    if not tally.is_exact:
        say("Not exact: the worker may have counted batches that were not accepted.")


def _check_writable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")


def _write(path: Path, simulation: Simulation, tally: SimulationTally) -> None:
    metrics = tally.truth.as_json()
    tally.truth.expire()
    content = {
        "version": VERSION,
        "seed": simulation.seed,
        "viewers": simulation.viewers,
        "cmcd_viewers": simulation.cmcd_viewers,
        "world": simulation.world.name,
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

"""``openqoe demo``: runs a worker with simulated viewers."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from openqoe.core.config.worker_config import Config
from openqoe.simulator import Simulation, parse_incident

from ..service.clock import now_ms
from ..service.os_process import stop_signals
from ..service.supervisor import GRACE, worker_command
from .command_options import env_file_option, load_config
from .simulate_command import Progress, report
from .simulation_sender import SimulationPlan, SimulationSender, SimulationTally
from .terminal_output import EXIT_FAILED, EXIT_USAGE, Painted, say

START_TIMEOUT: Final = 60.0
"""Seconds after which a worker that does not serve is stopped."""

DEFAULTS: Final[Mapping[str, str]] = {
    # Simulated data is kept apart from real data.
    "OPENQOE_DATA_DIR": "openqoe-demo",
    # A person is watching.
    "OPENQOE_FLUSH_INTERVAL": "2",
    # Videos by name rather than in buckets: there are few.
    "CARDINALITY_LIMITS": '{"limits":{"video_id":{"max_cardinality":1000,"action":"allow"}}}',
    "OPENQOE_LOG_LEVEL": "error",
}
"""Settings of the worker that the user has not set."""

INCIDENT: Final = "cdn@3m+10m/30m"

CMCD_PART: Final = 5
"""Viewers with an SDK for each one whose player reports by CMCD."""


@click.command()
@click.option("--port", default=8787, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option(
    "--viewers",
    type=click.IntRange(1),
    default=60,
    help="Approximate number of viewers who watch at once.",
)
@env_file_option()
def demo(port: int, viewers: int, env_file: Path | None) -> None:
    """Run a worker with simulated viewers until Ctrl-C.

    The worker uses your settings, like openqoe serve. By default it flushes every 2 s and keeps
    its data in ./openqoe-demo. A fifth as many viewers again report by CMCD, without an SDK. Three
    minutes after the start, and every half hour, one of the viewers' CDNs degrades for ten minutes.

    \b
    Examples:
      openqoe demo
      openqoe demo --port 9000 --viewers 300
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe demo
    """
    config, environment = load_config(env_file)
    defaults = {name: text for name, text in DEFAULTS.items() if not environment.get(name)}
    config, environment = load_config(env_file, **defaults)
    url = f"http://127.0.0.1:{port}"
    with _worker(port, environment, config) as worker:
        _introduce(url, viewers, config)
        start = now_ms()
        incidents = (parse_incident(INCIDENT),)
        simulation = Simulation(viewers, start, start, incidents, cmcd_viewers=viewers // CMCD_PART)
        key = config.api_keys[0] if config.api_keys else ""
        tally = SimulationTally()
        progress = Progress(simulation, tally)

        def tick() -> None:
            progress.show()
            if worker.poll() is not None:
                tally.stopped = f"the worker ended with status {worker.returncode}"

        SimulationSender(simulation, SimulationPlan(url, key), tally, tick).run()
        progress.end()
    report(tally)
    sys.exit(0 if tally.stopped == "interrupted" else EXIT_FAILED)


@contextmanager
def _worker(
    port: int, environment: Mapping[str, str], config: Config
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process that ends with this one. Ctrl-C reaches this process alone, so that
    the worker ends after its viewers."""
    channel, theirs = socket.socketpair()
    command = [*worker_command(), "serve", "--port", str(port)]
    with theirs, channel:
        process = subprocess.Popen(
            [*command, "--parent-fd", str(theirs.fileno())],
            env=dict(environment),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        try:
            _wait_for(process, channel)
            yield process
        finally:
            _end(process, config.shutdown_timeout / 1000 + GRACE)


def _wait_for(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """Wait until the worker serves. If it does not, exit with its status."""
    before = {number: signal.signal(number, _exit) for number in stop_signals()}
    try:
        channel.settimeout(START_TIMEOUT)
        try:
            serves = bool(channel.recv(1))
        except TimeoutError:
            serves = False
        if not serves:
            process.terminate()
            sys.exit(EXIT_USAGE if process.wait(START_TIMEOUT) == EXIT_USAGE else EXIT_FAILED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: object) -> None:
    sys.exit(EXIT_FAILED)


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _introduce(url: str, viewers: int, config: Config) -> None:
    """Print the addresses, and that the data is simulated."""
    destinations = [
        one.name
        for one in (*config.metrics_destinations, *config.logs_destinations)
        if not one.url.startswith("embedded:")
    ]
    say("")
    say(
        "  ",
        Painted("SIMULATED DATA", "yellow"),
        f': about {viewers} viewers, with env="simulated".',
    )
    say("")
    if config.has_dashboard:
        say("  dashboard   ", Painted(f"{url}/", "cyan"))
    say(f"  events      {url}/v1/events")
    if config.durability != "memory" or config.is_embedded:
        folder = os.path.relpath(config.data_dir)
        say(f"  data        {folder} (delete it after the demo)")
    if destinations:
        text = f"to {' and '.join(destinations)}, from your settings"
        say("  delivery    ", Painted(text, "yellow"))
    say("")
    say("  A CDN degrades in 3 minutes, for 10 minutes: watch stalls and errors of DE, AT and NL.")
    say("  Ctrl-C ends worker and viewers. Without simulated viewers: openqoe serve")
    say("")

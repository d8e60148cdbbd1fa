"""``openqoe demo``: a worker with simulated viewers, to look at."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from openqoe.core.config.worker_config import Config
from openqoe.simulator import Simulation, parse_incident

from ..service.clock import now_ms
from ..service.extras import MissingExtraError, needs
from ..service.os_process import stop_signals
from ..service.supervisor import GRACE, worker_command
from .options import FILE, config_of
from .output import EXIT_FAILED, EXIT_USAGE, Painted, fail, say
from .simulate import Progress, tell

PATIENCE: Final = 60.0
"""Seconds that the worker has to begin to serve."""

UNLESS_SET: Final[Mapping[str, str]] = {
    # Simulated data never comes among real data by itself.
    "OPENQOE_DATA_DIR": "openqoe-demo",
    # Somebody is looking.
    "OPENQOE_FLUSH_INTERVAL": "2",
    # Videos by their names rather than in buckets: there are few.
    "CARDINALITY_LIMITS": '{"limits":{"video_id":{"max_cardinality":1000,"action":"allow"}}}',
    "OPENQOE_LOG_LEVEL": "error",
}
"""Settings of the worker where the user has none."""

INCIDENT: Final = "cdn@3m+10m/30m"


@click.command()
@click.option(
    "--port",
    default=8787,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@click.option(
    "--viewers",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="How many watch at once, about.",
)
@click.option("--env-file", type=FILE, help="Read settings from this file.")
def demo(port: int, viewers: int, env_file: Path | None) -> None:
    """Serve, with simulated viewers, until Ctrl-C.

    A worker like that of openqoe serve, with the settings that you have; where you have none it
    flushes every 2 s and keeps its data in ./openqoe-demo. Beside it viewers watch who are made
    up. Three minutes after the start, and every half hour, one of their CDNs goes bad for ten.

    \b
    Examples:
      openqoe demo
      openqoe demo --port 9000 --viewers 300
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe demo
    """
    config, environment = config_of(env_file)
    defaults = {name: text for name, text in UNLESS_SET.items() if not environment.get(name)}
    config, environment = config_of(env_file, **defaults)
    try:
        with needs("asyncio"):
            sender: Any = import_module("openqoe.shells.cli.simulation_client")
    except MissingExtraError as error:
        fail(str(error))
    url = f"http://127.0.0.1:{port}"
    with _worker(port, environment, config) as worker:
        _introduce(url, viewers, config)
        start = now_ms()
        simulation = Simulation(viewers, start, start, (parse_incident(INCIDENT),))
        key = config.api_keys[0] if config.api_keys else ""
        tally = sender.Tally()
        progress = Progress(simulation, tally)

        def tick() -> None:
            progress.show()
            if worker.poll() is not None:
                tally.stopped = f"the worker has ended with status {worker.returncode}"

        sender.simulate(simulation, sender.Plan(url, key), tally, tick)
        progress.end()
    tell(tally)
    sys.exit(0 if tally.stopped == "interrupted" else EXIT_FAILED)


@contextmanager
def _worker(
    port: int, environment: Mapping[str, str], config: Config
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that serves, until the end. It ends cleanly when this process is gone, too; a
    Ctrl-C of the terminal comes to this process alone, so that it ends after its viewers."""
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
    """Wait until the worker serves; exits with what it ends with if it does not."""
    before = {number: signal.signal(number, _leave) for number in stop_signals()}
    try:
        channel.settimeout(PATIENCE)
        try:
            serves = bool(channel.recv(1))
        except TimeoutError:
            serves = False
        if not serves:
            process.terminate()
            sys.exit(EXIT_USAGE if process.wait(PATIENCE) == EXIT_USAGE else EXIT_FAILED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: object) -> None:
    sys.exit(EXIT_FAILED)


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _introduce(url: str, viewers: int, config: Config) -> None:
    """Say where to look, and that nothing of it is real."""
    where = [
        one.name
        for one in (*config.metrics_destinations, *config.logs_destinations)
        if not one.url.startswith("embedded:")
    ]
    say("")
    say(
        "  ",
        Painted("SIMULATED DATA", "yellow"),
        f': {viewers} viewers who do not exist watch, as env="simulated".',
    )
    say("")
    if config.has_dashboard:
        say("  dashboard   ", Painted(f"{url}/", "cyan"))
    say(f"  events      {url}/v1/events")
    if config.durability != "memory" or config.is_embedded:
        folder = os.path.relpath(config.data_dir)
        say(f"  data        {folder} (delete it when you have seen enough)")
    if where:
        text = f"sent to {' and '.join(where)} as your settings say"
        say("  delivery    ", Painted(text, "yellow"))
    say("")
    say("  A CDN goes bad in 3 minutes, for 10 minutes: watch stalls and errors of DE, AT, NL.")
    say("  Ctrl-C ends worker and viewers. Without simulated viewers: openqoe serve")
    say("")

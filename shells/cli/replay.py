"""``openqoe replay``: feeds a recording into a running worker."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, cast

import click

from ..service.extras import MissingExtraError, needs
from ..service.logs import printable
from . import recording
from .options import UNITS, is_http
from .output import EXIT_FAILED, fail, is_terminal, say
from .recording import Overview, RecordedBatch

IN_MEMORY: Final = 32 << 20
"""Bytes of standard input that are kept in memory; more go to a temporary file."""

MAX_FAULTS: Final = 10
"""Lines that cannot be used are told one by one up to here."""


def _shift(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Milliseconds; None for "now"."""
    if value == "now":
        return None
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
    if match is None:
        message = f'{printable(value)} is neither "now" nor a duration like 90s, -2h or 3d'
        raise click.BadParameter(message, context, parameter)
    return round(float(match[1]) * UNITS[match[2]])


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--url",
    default="http://127.0.0.1:8787",
    show_default=True,
    help="The worker; with a path, everything is sent to that path.",
)
@click.option("--api-key", envvar="API_KEY", default="", help="The worker's key (API_KEY).")
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Times as fast as it was recorded; 0 is as fast as the worker takes it.",
)
@click.option(
    "--shift-time",
    "shift",
    callback=_shift,
    default="0s",
    metavar="DURATION|now",
    help='Move the times of all events: by 90s, -2h or 3d; or to "now", so that the newest event '
    "has just happened when the replay ends.",
)
@click.option(
    "--batch",
    "batch_size",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How many single events make a batch.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Requests at once; with more than one, batches overtake each other.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds for which a batch is tried again while the worker is away or busy.",
)
def replay(
    file: IO[bytes],
    url: str,
    api_key: str,
    speed: float,
    shift: int | None,
    batch_size: int,
    concurrency: int,
    patience: float,
) -> None:
    """Feed a recording into a running worker: FILE, or "-" for standard input.

    FILE has one JSON value a line, compressed with gzip or not: recorded requests ({"t": ms,
    "path", "headers", "body"}), batches ({"events": [...]}) or single events. A batch that the
    worker knows from the last 24 h is not counted again, unless its times are shifted. Exits with
    1 if something was not accepted.

    \b
    Examples:
      openqoe replay evening.ndjson.gz --shift-time now
      openqoe replay evening.ndjson --speed 10 --shift-time now --url https://qoe.example.com
      zcat events.ndjson.gz | openqoe replay - --shift-time 7d --batch 100
    """
    if not is_http(url):
        fail(f"--url {url} is not an http or https URL")
    try:
        with needs("asyncio"):
            sender: Any = import_module("openqoe.shells.cli.replay_client")
        # It is read twice: its times are known only when all of it has been seen.
        text = recording.opened(_seekable(file))
        overview = recording.survey(recording.read(text, batch_size))
        text.seek(0)
        target = sender.Target(
            url,
            api_key.partition(",")[0].strip(),
            speed,
            _milliseconds(shift, overview, speed),
            concurrency,
            patience,
        )
        tally = sender.Tally()
        try:
            with _progress(overview.batches) as progress:
                sender.replay(_batches(text, batch_size), target, tally, progress, overview.first)
        except KeyboardInterrupt:
            tally.stopped = "interrupted"
    except OSError as error:
        fail(f"cannot read {file.name}: {error}")
    except MissingExtraError as error:
        fail(str(error))
    sys.exit(_report(overview, tally))


def _seekable(file: IO[bytes]) -> IO[bytes]:
    if file.seekable():
        return file
    spool = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - lives as long as we
    copyfileobj(file, spool)
    spool.seek(0)
    return cast(IO[bytes], spool)


def _milliseconds(shift: int | None, overview: Overview, speed: float) -> int:
    if shift is not None:
        return shift
    if overview.newest is None:
        return 0
    lasts = overview.length / speed if speed else 0.0
    return round(time.time() * 1000 + lasts - overview.newest)


def _batches(file: IO[bytes], batch_size: int) -> Iterator[RecordedBatch]:
    for entry in recording.read(file, batch_size):
        if isinstance(entry, RecordedBatch):
            yield entry


@contextmanager
def _progress(batches: int) -> Iterator[Callable[[int], None]]:
    """A progress bar where somebody looks at it."""
    if not is_terminal(err=True):
        yield lambda _: None
        return
    with click.progressbar(length=batches, label="batches", show_pos=True, file=sys.stderr) as bar:
        yield bar.update


def _report(overview: Overview, tally: Any) -> int:
    """Say what came of it; returns the exit status."""
    for fault in overview.faults[:MAX_FAULTS]:
        say(f"line {fault.line}: not sent: {fault.reason}", err=True)
    for problem in tally.problems:
        say(problem, err=True)
    if tally.stopped:
        say(f"stopped, the rest was not sent: {tally.stopped}", err=True)
    rate = tally.accepted / tally.seconds if tally.seconds else 0.0
    parts = (
        (True, f"{tally.batches} of {overview.batches} batches sent"),
        (True, f"{tally.accepted} events accepted in {tally.seconds:.1f} s ({rate:.0f} events/s)"),
        (tally.refused, f"{tally.refused} events refused"),
        (tally.refused_batches, f"{tally.refused_batches} batches refused"),
        (overview.faults, f"{len(overview.faults)} lines not usable"),
        (overview.skipped, f"{overview.skipped} lines without events"),
    )
    say(", ".join(part for shown, part in parts if shown))
    is_complete = not (overview.faults or tally.stopped or tally.refused or tally.refused_batches)
    return 0 if is_complete else EXIT_FAILED

"""``openqoe replay``: sends a recording to a running worker."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO, Final, cast

import click

from ..service.logs import printable
from . import recording_reader
from .command_options import SEND_URL, parse_duration, worker_options
from .recording_reader import Overview, RecordedBatch
from .recording_sender import RecordingSender, ReplayPlan, ReplayTally
from .terminal_output import EXIT_FAILED, fail, is_terminal, say, say_counts

SPOOL_BYTES: Final = 32 << 20
"""Bytes of standard input that are kept in memory; more go to a temporary file."""

MAX_FAULTS: Final = 10
"""Unusable lines that are printed one by one."""


def _shift(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Milliseconds; None for "now"."""
    if value == "now":
        return None
    ms = parse_duration(value)
    if ms is None:
        message = f'{printable(value)} is neither "now" nor a duration like 90s, -2h or 3d'
        raise click.BadParameter(message, context, parameter)
    return round(ms)


@click.command()
@click.argument("file", type=click.File("rb"))
@worker_options(SEND_URL)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=0.0,
    help="Seconds of the recording per second; 0 is as fast as the worker accepts it.",
)
@click.option(
    "--shift-time",
    "shift",
    callback=_shift,
    default="0s",
    metavar="DURATION|now",
    help="Add a duration like 90s, -2h or 3d to the times of all events. With now, the newest "
    "event happens when the replay ends.",
)
@click.option(
    "--batch",
    "batch_size",
    type=click.IntRange(1),
    default=10,
    help="Number of single events in a batch.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=1,
    help="Requests in flight at once. With more than one, batches may overtake each other.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=60.0,
    help="Seconds for which a batch is retried while the worker is away or busy.",
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
    """Send a recording to a running worker: FILE, or "-" for standard input.

    FILE has one JSON value per line and may be compressed with gzip: recorded requests ({"t": ms,
    "path", "headers", "body"}) of the SDK or of CMCD, batches ({"events": [...]}) or single events.
    A worker does not count a batch again that it has received within the last 24 h, unless its
    times are shifted. Recorded CMCD targets keep their query, except the key; a path in --url
    replaces them.

    Exits with 1 if a batch or an event was not accepted.

    \b
    Examples:
      openqoe replay evening.ndjson.gz --shift-time now
      openqoe replay evening.ndjson --speed 10 --shift-time now --url https://qoe.example.com
      zcat events.ndjson.gz | openqoe replay - --shift-time 7d --batch 100
      openqoe replay cmcd.ndjson --shift-time now \\
        --url 'https://qoe.example.com/v1/cmcd?org_id=acme&player_id=web'
    """
    tally = ReplayTally()
    try:
        # The file is read twice: the shift to "now" depends on its last event.
        text = recording_reader.decompress(_seekable(file))
        overview = recording_reader.survey(recording_reader.read(text, batch_size))
        text.seek(0)
        shift = _shift_to_now(overview, speed) if shift is None else shift
        plan = ReplayPlan(url, api_key, speed, shift, concurrency, patience)
        try:
            with _progress_bar(overview.batches) as progress:
                RecordingSender(plan, tally, progress, overview.first).send_all(
                    entry
                    for entry in recording_reader.read(text, batch_size)
                    if isinstance(entry, RecordedBatch)
                )
        except KeyboardInterrupt:
            tally.stopped = "interrupted"
    except OSError as error:
        fail(f"cannot read {file.name}: {error}")
    _report(overview, tally)
    refused = tally.refused_events or tally.refused_batches
    sys.exit(EXIT_FAILED if overview.faults or tally.stopped or refused else 0)


def _seekable(file: IO[bytes]) -> IO[bytes]:
    if file.seekable():
        return file
    spool = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - lives as long as we
    copyfileobj(file, spool)
    spool.seek(0)
    return cast(IO[bytes], spool)


def _shift_to_now(overview: Overview, speed: float) -> int:
    """The shift by which the newest event happens at the end of the replay."""
    if overview.newest is None:
        return 0
    duration = overview.length / speed if speed else 0.0
    return round(time.time() * 1000 + duration - overview.newest)


@contextmanager
def _progress_bar(batches: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, on a terminal only."""
    if not is_terminal(err=True):
        yield lambda _: None
        return
    with click.progressbar(length=batches, label="batches", show_pos=True, file=sys.stderr) as bar:
        yield bar.update


def _report(overview: Overview, tally: ReplayTally) -> None:
    for fault in overview.faults[:MAX_FAULTS]:
        say(f"line {fault.line}: not sent: {fault.reason}", err=True)
    for problem in tally.problems:
        say(problem, err=True)
    if tally.stopped:
        say(f"stopped before the end: {tally.stopped}", err=True)
    say_counts(
        f"{tally.batches + tally.refused_batches} of {overview.batches} batches sent",
        f"{tally.events} events accepted in {tally.seconds:.1f} s ({tally.rate:.0f} events/s)",
        (tally.refused_events, "events refused"),
        (tally.refused_batches, "batches refused"),
        (len(overview.faults), "lines not usable"),
        (overview.skipped, "lines without events"),
    )

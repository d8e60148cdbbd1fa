"""Writes the pages of the documentation that follow from tables in the code.

``make docs`` runs it; a test checks that the pages are up to date.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS
from openqoe.core.config.declaration import Setting, declared_settings
from openqoe.core.config.worker_config import Config
from openqoe.core.engine.memory_bounds import MemoryBound, bounds_with_key, bounds_without_key
from openqoe.core.metrics import health_metrics
from openqoe.core.metrics.metric import Metric
from openqoe.core.qoe import catalogue
from openqoe.core.qoe.labeller import METRIC_LABELS
from openqoe.shells.cli import command_group
from tests.support.playback_accuracy import largest_errors

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py from the code; edit there. -->\n"


def configuration() -> str:
    """The page of all settings."""
    lines = [
        "# Configuration\n",
        NOTE,
        "Settings are environment variables, or lines of a file given with `--env-file`; the "
        "environment takes precedence. With an invalid setting the worker does not start, and one "
        "message lists every fault. A line of the file that is not `NAME=value`, a comment or "
        "empty is a fault as well. Blanks and newlines around a value are removed; an empty value "
        "counts as not set. Durations are in seconds and may have fractions; sizes are in "
        "bytes and may end in KiB, MiB or GiB.\n",
        "Any `GRAFANA_CLOUD_` setting selects Grafana Cloud, else any URL selects self-hosted "
        "servers; without either the worker uses the [embedded store](embedded.md).\n",
    ]
    defaults = Config()
    for name, setting in declared_settings(Config).items():
        if setting.group:
            lines += [
                f"\n## {setting.group}\n",
                "| setting | default | meaning |",
                "| --- | --- | --- |",
            ]
        default = _default(setting, getattr(defaults, name))
        lines.append(f"| `{setting.env}` | {default} | {setting.help} |")
    lines += [
        "\n## Default limits of dimensions\n",
        "| dimension | action | values | bucket size |",
        "| --- | --- | --- | --- |",
    ]
    for dimension, limit in DEFAULT_LIMITS.items():
        size = limit.bucket_size if limit.action == "bucket" else ""
        most = "" if limit.max_cardinality is None else limit.max_cardinality
        lines.append(f"| `{dimension}` | {limit.action} | {most} | {size} |")
    return "\n".join(lines) + "\n"


def _default(setting: Setting, value: object) -> str:
    if setting.default_text is not None:
        return setting.default_text
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and setting.unit == "s":
        return f"{value / 1000:g} s"
    if isinstance(value, int) and setting.unit == "bytes":
        for size, unit in ((1024**2, "MiB"), (1024, "KiB")):
            if value and value % size == 0:
                return f"{value // size} {unit}"
    return f"{value:,}" if isinstance(value, int) else f"`{value}`"


def metrics() -> str:
    """The page of all metrics."""
    lines = [
        "# Metrics\n",
        NOTE,
        f"Every QoE metric has the base labels `{' '.join(METRIC_LABELS)}`, governed, as far as "
        "the event has them, and `instance`. Counters and histograms are cumulative; a gauge is "
        "the mean of the flush window and ends with a stale marker after 5 minutes without an "
        "observation. A histogram has the series `_bucket`, `_sum` and `_count`.\n",
        "## QoE\n",
        "| metric | type | unit | labels | source | buckets |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in catalogue.CATALOGUE:
        lines.append(_row(row.metric, row.source))
    lines.append(_row(catalogue.CONCURRENT_VIEWS, catalogue.CONCURRENT_VIEWS.help))
    lines += definitions()
    lines += [
        "\n## The worker's own health\n",
        "At `/metrics`, and through remote write.\n",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for metric in sorted(health_metrics.METRICS, key=lambda metric: metric.name):
        labels = " ".join(f"`{label}`" for label in metric.labels)
        kind = metric.type.name.lower()
        lines.append(f"| `{metric.name}` | {kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def definitions() -> Iterator[str]:
    """The section that compares our definitions with the standards, and with real players."""
    errors = {name: f"{seconds * 1000:.0f} ms" for name, seconds in largest_errors().items()}
    yield "\n## Definitions and accuracy\n"
    yield (
        "All times come from one model of a playback (`core/qoe/playback.py`): `loaded`, "
        "`starting`, `playing`, `rebuffering`, `seeking`, `paused`, `ended`, `failed`, `left`. An "
        "interval between two events of a view counts for at most 90 s, and signals are applied "
        "10 s after they arrived, by event time. The error is the largest of any view in the ten "
        "recordings of real players, against the media element's own events up to the view's last "
        "event (`python -m tests.support.playback_accuracy`). A view that is closed without a last "
        "event, as in the first SDK generation, loses up to 10 s. Shaka reports neither wait nor "
        "error for a manifest that cannot be loaded; in the first generation such a view looks "
        "like a start. html5 of the first generation does not report when a seek began, so a seek "
        "out of a stall counts as rebuffering until it is over. A `cause` of stalls is `startup`, "
        "`seek`, `rebuffer` or `paused`: data are missing while the viewer pauses, which is "
        "rebuffering from the resumption on.\n"
    )
    yield "What the events cannot tell:\n"
    yield from (f"- {doubt}" for doubt in DOUBTS)
    yield ""
    yield "| metric | definition | CTA-2066 and Mux | error |"
    yield "| --- | --- | --- | --- |"
    for metric, definition, standard, error in DEFINITIONS:
        yield f"| {metric} | {definition} | {standard} | {errors.get(error, error)} |"
    yield (
        "\nA view ends when `ended` arrives, or after silence (`OPENQOE_VIEW_TIMEOUT`; 60 s if its "
        "page was hidden before the first frame, or its playback is over). Ratios of outcomes are "
        "ratios of ended views."
    )


DOUBTS: Final = (
    "Whether a page gives the duration in s or ms. From 10,000 on it counts as ms, else as s, "
    "unless only the other unit fits the positions and quartiles. A video below 10 s in ms that is "
    "left before its first quartile has a completion of about 0, and a film of 3 h in s that is "
    "left within its first 12 s one of up to 1.",
    "Whether a stream is live: the page says so (`video.content_type`, CMCD `st`). Otherwise "
    "hls.js reports quartiles of its sliding window, and they count as completion.",
    "What plays in the view. An advertisement in the same view with the same `video.id` is part of "
    "the video: its `ended` completes the view. Give it an id of its own.",
    "Who seeks. A `loop`, a jump to the live edge and a manual switch of the rendition (Shaka, "
    "video.js) are seeks of the player; so is the recovery of hls.js from a media error, and its "
    "wait counts as that of a seek.",
    "What was played after the last total of a player that another one replaces in the same view: "
    "it counts as watched, not as media played.",
    "The playback rate in the first generation, and from Shaka and video.js. The position moves by "
    "up to twice the time without a seek.",
    "Which bit rate a rendition has that is reported without one: that of the one before counts.",
    "Whether a silent viewer comes back. A view ends after the time-out, and its outcome is final; "
    "if it comes back, its times count, and a first frame has no start-up time.",
)
"""What no model could derive from the events of the known players."""

DEFINITIONS: Final = (
    (
        "start-up time `openqoe_video_startup_seconds`",
        "play request (the first; autoplay too) to first frame; once a view with a frame",
        "the same: CTA-2066 *start-up time*, Mux *video startup time*",
        "startup",
    ),
    (
        'rebuffering `openqoe_rebuffer_duration_seconds{cause="rebuffer"}`',
        "waits after the first frame that no seek explains, until the picture moves, a pause or "
        "the view's last event",
        "the same: CTA-2066 *stalls* exclude start-up and seeks; Mux *rebuffer duration*",
        "rebuffer",
    ),
    (
        "watch time `openqoe_watch_time_seconds`",
        "time playing and rebuffering, by the clock",
        "Mux *watch time* includes start-up and seeks; CTA-2066 excludes pauses only: add "
        "`openqoe_startup_wait_seconds`",
        "watch",
    ),
    (
        "rebuffer percentage",
        "rebuffering / watch time: never above 100 %",
        "Mux *rebuffer percentage*; CTA-2066 *stalled time %*",
        "from both",
    ),
    (
        "time played (rendition, bit rate, frames)",
        "time in the state playing, by the clock",
        "CTA-2066 *playing*",
        "playing",
    ),
    (
        "media played `openqoe_playing_time_seconds`",
        "increase of the player's own running total, and the position after the last one",
        "Mux *playing time*",
        "as the player counts: 0.1 to 0.3 s low a stretch",
    ),
    (
        "exits before start",
        "`exit_before_start` / (all outcomes - `bounce` - `unknown`)",
        "CTA-2066, Mux, Conviva *EBVS*; exits within 1 s are left out",
        "a count",
    ),
    (
        "start failures",
        "`start_failure` / (all outcomes - `bounce` - `unknown`)",
        "CTA-2066, Mux *video start failure*",
        "a count; dash.js reports no manifest failure",
    ),
    (
        "playback failures",
        "`playback_failure` / (`completed` + `stopped` + `playback_failure`)",
        "CTA-2066: of all sessions; Mux: of all views",
        "a count",
    ),
    (
        "weighted average bit rate",
        "`openqoe_bitrate_bits_total` / `openqoe_bitrate_known_seconds_total`",
        "CTA-2066 *average bitrate*; Mux *weighted average bitrate*",
        "as the player reports renditions",
    ),
    (
        "upscaling, downscaling",
        "`openqoe_upscale_seconds_total` / `openqoe_scale_known_seconds_total`, and likewise",
        "Mux *average upscale percentage*",
        "as the player reports sizes",
    ),
    (
        "dropped frames",
        "`openqoe_expected_frames_dropped_total` / `openqoe_frames_expected_total`",
        "Mux *dropped frame percentage*",
        "as the player counts",
    ),
    (
        "completion `openqoe_completion_rate`",
        "of each view that showed a frame, at its end: furthest position / duration; what the "
        "player reports with `ended`, or the highest quartile, if it is more",
        "none; Mux *view dropped*",
        "a ratio",
    ),
    (
        "score `openqoe_view_score`",
        "`startup` 100 x 8 / (8 + s); `smoothness` mean of 100 / sqrt(1 + (n/2)^2) and "
        "100 e^(-10 share); `quality` 100 e^(-0.33 (0.15 max + 0.85 mean upscale)); `success` 100, "
        "50 for an exit, 0 for a failure; `all` success/100 x mean of the parts known (ours)",
        "parts: Mux; the combination is not published",
        "follows from the above",
    ),
)


def _row(metric: Metric, source: str) -> str:
    labels = " ".join(f"`{label}`" for label in metric.labels)
    buckets = " ".join(f"{bound:g}" for bound in metric.buckets)
    kind = metric.type.name.lower()
    return f"| `{metric.name}` | {kind} | {metric.unit} | {labels} | {source} | {buckets} |"


EXIT_CODES = (
    (0, "Success; also after an interrupt with Ctrl-C."),
    (1, "Failure of a part: an unreachable destination, a rejected batch, an undelivered payload."),
    (2, "The arguments or the settings are invalid."),
)  # fmt: skip


def command_line() -> str:
    """The page of all commands."""
    lines = [
        "# The command line\n",
        NOTE,
        "Settings are environment variables, or lines of a file given with `--env-file` (see "
        "[configuration](configuration.md)). Output is coloured on terminals only, and not if "
        "`NO_COLOR` is set. Fields of events and answers of servers are escaped: a control "
        "sequence in them never reaches your terminal.\n",
        "| exit code | meaning |",
        "| --- | --- |",
        *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES),
        "",
    ]
    for name in command_group.COMMANDS:
        lines += _command(name, command_group.load_command(name))
    return "\n".join(lines) + "\n"


def _command(name: str, command: click.Command) -> Iterator[str]:
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\nExamples:\n")
    arguments = "".join(
        f" {_metavar(one)}" for one in command.params if isinstance(one, click.Argument)
    )
    yield f"## `openqoe {name}{arguments}`\n"
    yield text.strip() + "\n"
    yield "```bash"
    yield inspect.cleandoc(examples)
    yield "```\n"
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from _command(f"{name} {child.name}", child)
        return
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if options:
        yield "| option | default | meaning |"
        yield "| --- | --- | --- |"
        for option in options:
            help = (option.help or "").replace("|", "\\|")
            yield f"| {_names(option)} | {_option_default(option)} | {help} |"
        yield ""


def _metavar(argument: click.Argument) -> str:
    if isinstance(argument.type, click.Choice):
        return "|".join(map(str, argument.type.choices))
    return str(argument.name).upper()


def _names(option: click.Option) -> str:
    return ", ".join(f"`{name}`" for name in option.opts)


def _option_default(option: click.Option) -> str:
    value = option.default
    values = value if isinstance(value, list | tuple) else (value,)
    shown = [
        f"{one:g}" if isinstance(one, float) else str(one)
        for one in values
        if isinstance(one, str | int | float) and not isinstance(one, bool) and one != ""
    ]
    return " ".join(f"`{one}`" for one in shown)


MEMORY_TABLES = "<!-- memory: from here to the next comment written by docs/generate.py -->"
END_OF_TABLES = "<!-- memory: end -->"


def security() -> str:
    """The page about security: its tables of memory bounds are replaced."""
    before, _, rest = (HERE / "security.md").read_text(encoding="utf-8").partition(MEMORY_TABLES)
    after = rest.partition(END_OF_TABLES)[2]
    config = Config()
    lines = [MEMORY_TABLES, ""]
    for title, bounds in (
        ("Without a key", bounds_without_key(config)),
        ("With a page key, in addition", bounds_with_key(config)),
    ):
        lines += [*_memory_table(title, bounds), ""]
    return before + "\n".join([*lines, END_OF_TABLES]) + after


def _memory_table(title: str, bounds: tuple[MemoryBound, ...]) -> Iterator[str]:
    yield f"| {title} | number | bytes each | MiB |"
    yield "| --- | --- | --- | --- |"
    for bound in bounds:
        yield f"| {bound.what} | {bound.number:,} | {bound.size:,} | {bound.total / 2**20:.0f} |"
    total = sum(bound.total for bound in bounds)
    yield f"| **together** | | | **{total / 2**20:.0f}** |"


PAGES = {
    "security.md": security,
    "configuration.md": configuration,
    "metrics.md": metrics,
    "command-line.md": command_line,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")

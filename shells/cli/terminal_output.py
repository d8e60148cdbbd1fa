"""Output of the commands.

All output goes through here. Text from outside (fields of events, answers of servers, recorded
files) is escaped, so that it cannot control a terminal. Colours are used on terminals only, and not
where NO_COLOR is set (https://no-color.org).
"""

import json
import os
import sys
from typing import Any, Final, Literal, NamedTuple, NoReturn

import click

from ..service.logs import printable

EXIT_FAILED: Final = 1
"""The command ran, and something failed."""

EXIT_USAGE: Final = 2
"""The command could not run with these arguments or settings."""

Colour = Literal["green", "yellow", "red", "bright_black", "cyan"]


class Painted(NamedTuple):
    """A text and its colour."""

    text: str
    colour: Colour


def has_colours(*, err: bool = False) -> bool:
    """Whether output may have colours."""
    return not os.environ.get("NO_COLOR") and is_terminal(err=err)


def is_terminal(*, err: bool = False) -> bool:
    """Whether the output goes to a terminal."""
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


def say(*parts: str | Painted, err: bool = False) -> None:
    """Write one line."""
    colours = has_colours(err=err)
    out = []
    for part in parts:
        if isinstance(part, Painted):
            text = printable(part.text)
            out.append(click.style(text, fg=part.colour) if colours else text)
        else:
            out.append(printable(part))
    click.echo("".join(out), err=err, color=colours)


def say_json(value: Any) -> None:
    """Write data as JSON, which escapes control characters."""
    click.echo(json.dumps(value, indent=2 if is_terminal() else None))


def say_counts(*parts: str | tuple[int, str]) -> None:
    """Write texts, and counts that are not 0, in one line."""
    texts = (part if isinstance(part, str) else f"{part[0]:,} {part[1]}" for part in parts)
    say(", ".join(text for text, part in zip(texts, parts, strict=True) if part[0]))


def overwrite(text: str) -> None:
    """Replace the current line of a terminal."""
    click.echo(f"\r\x1b[K{printable(text)}", nl=False, err=True)


def clear_screen() -> None:
    """Clear the screen of a terminal."""
    click.echo("\x1b[H\x1b[2J", nl=False)


def fail(message: str) -> NoReturn:
    """Write why the command cannot run, and exit."""
    for line in f"openqoe: {message}".split("\n"):
        say(line, err=True)
    sys.exit(EXIT_USAGE)

"""How commands speak to a person.

Everything goes through here, so that what others wrote (fields of events, answers of servers,
recorded files) is shown as text and never steers a terminal, and so that colours stand on
terminals only, and not where NO_COLOR is set (https://no-color.org).
"""

import json
import os
import sys
from typing import Any, Final, Literal, NamedTuple, NoReturn

import click

from ..service.logs import printable

EXIT_FAILED: Final = 1
"""The command ran, and not everything went well."""

EXIT_USAGE: Final = 2
"""The command could not run as it was called, or with the settings as they are."""

Colour = Literal["green", "yellow", "red", "bright_black", "cyan"]


class Painted(NamedTuple):
    """A text with a colour, where there are colours."""

    text: str
    colour: Colour


def has_colours(*, err: bool = False) -> bool:
    """Whether output may have colours."""
    return not os.environ.get("NO_COLOR") and is_terminal(err=err)


def is_terminal(*, err: bool = False) -> bool:
    """Whether somebody looks at the output."""
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
    """Write data; JSON's own escapes keep it from steering a terminal."""
    click.echo(json.dumps(value, indent=2 if is_terminal() else None))


def overwrite(text: str) -> None:
    """Write over the current line of a terminal; "" clears it."""
    click.echo(f"\r\x1b[K{printable(text)}", nl=False, err=True)


def clear_screen() -> None:
    """Begin a terminal's screen anew."""
    click.echo("\x1b[H\x1b[2J", nl=False)


def fail(message: str) -> NoReturn:
    """Say why the command cannot run, in one line or several, and exit."""
    for line in f"openqoe: {message}".split("\n"):
        say(line, err=True)
    sys.exit(EXIT_USAGE)

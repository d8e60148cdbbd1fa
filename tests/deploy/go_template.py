"""Renders the subset of Go's text/template that the dashboards use in `line_format`.

Loki runs templates over labels, which are strings; an absent label is empty. Anything outside the
subset is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Values = Mapping[str, str]

_ACTION: Final = re.compile(r"\{\{(.*?)\}\}")
_TOKEN: Final = re.compile(r'\s*(?:(\()|(\))|\.(\w+)|"([^"]*)"|(-?\d+(?:\.\d+)?)|(\w+))')


def _divide(dividend: Any, *divisors: Any) -> float:
    found = _float(dividend)
    for divisor in divisors:
        found /= _float(divisor)
    return found


def _float(value: Any) -> float:
    """Like Loki's float64: 0 if it is not a number."""
    try:
        return float(value)
    except ValueError:
        return 0.0


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "divf": _divide,
    "float64": _float,
    "printf": lambda form, *values: form % values,
}


def render(template: str, labels: Values) -> str:
    """Render a template.

    Raises:
        ValueError: It is outside the subset.
    """
    pieces = _ACTION.split(template)
    rendered, place = _render_block(pieces, 0, labels)
    if place < len(pieces):
        raise ValueError(f"not in a block: {pieces[place]}")
    return rendered


def _render_block(pieces: list[str], place: int, labels: Values) -> tuple[str, int]:
    """Text from a place up to the action that ends the block, and the place of that action.

    Text is at even places, actions at odd ones.
    """
    out = pieces[place]
    place += 1
    while place < len(pieces):
        action = pieces[place]
        if action in ("else", "end"):
            return out, place
        if action.startswith("if "):
            chosen, place = _render_if(pieces, place, labels)
            out += chosen
        else:
            out += str(_evaluate(action, labels))
        out += pieces[place + 1]
        place += 2
    return out, place


def _render_if(pieces: list[str], place: int, labels: Values) -> tuple[str, int]:
    """The text of an `if`, and the place of its `end`."""
    condition = _evaluate(pieces[place].removeprefix("if "), labels)
    then, place = _render_block(pieces, place + 1, labels)
    otherwise = ""
    if pieces[place] == "else":
        otherwise, place = _render_block(pieces, place + 1, labels)
    if pieces[place] != "end":
        raise ValueError(f"not an end: {pieces[place]}")
    return (then if condition else otherwise), place


def _evaluate(text: str, labels: Values) -> Any:
    tokens = []
    while text.strip():
        match = _TOKEN.match(text)
        if match is None:
            raise ValueError(f"not an expression: {text}")
        tokens.append(match.groups())
        text = text[match.end() :]
    return _call(tokens[::-1], labels)


def _call(tokens: list[tuple[str | None, ...]], labels: Values) -> Any:
    """The value of an operand, or of a function with its arguments, up to a closing bracket."""
    values: list[Any] = []
    while tokens:
        opening, closing, label, string, number, name = tokens.pop()
        if closing:
            break
        if opening:
            values.append(_call(tokens, labels))
        elif label is not None:
            values.append(labels.get(label, ""))
        elif string is not None:
            values.append(string)
        elif number is not None:
            values.append(float(number))
        else:
            assert name is not None
            if values or name not in _FUNCTIONS:
                raise ValueError(f"not a function: {name}")
            values.append(_FUNCTIONS[name])
    if callable(values[0]):
        return values[0](*values[1:])
    (value,) = values
    return value

"""A strict parser of Prometheus' text format 0.0.4, written from its documentation.

It refuses input that lenient scrapers accept: a sample without a TYPE, a family in two places, a
repeated label, a histogram whose buckets decrease or do not end in +Inf.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
_PARTS: Final = {"histogram": ("_bucket", "_sum", "_count")}

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its type, its help, and its samples by name and labels."""

    type: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """Parse the families by name.

    Raises:
        ValueError: The text violates the format.
    """
    families: dict[str, Family] = {}
    current = ""
    if not text.endswith("\n"):
        raise ValueError("the last line has no line feed")
    help_of: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            help_of[name] = words
        elif line.startswith("# TYPE "):
            current, kind = line[7:].split(" ")
            if current in families or current not in help_of:
                raise ValueError(f"repeated family, or family without help: {line}")
            families[current] = Family(kind, help_of[current])
        else:
            name, labels, value = _sample(line)
            parts = _PARTS.get(families[current].type, ("",))
            if name not in [current + part for part in parts]:
                raise ValueError(f"not a sample of {current}: {line}")
            if (name, labels) in families[current].samples:
                raise ValueError(f"repeated sample: {line}")
            families[current].samples[name, labels] = value
    for name, family in families.items():
        if family.type == "histogram":
            _check_histogram(name, family)
    return families


def _sample(line: str) -> tuple[str, Labels, float]:
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a sample: {line}")
    pairs = list(_pairs(match[2] or ""))
    if len(pairs) != len(dict(pairs)):
        raise ValueError(f"repeated label: {line}")
    return match[1], frozenset(pairs), float(match[3])


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            raise ValueError(f"not a label: {text[position:]}")
        unescaped = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[2])
        yield match[1], unescaped
        position = match.end()


def _check_histogram(name: str, family: Family) -> None:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            others = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(others, []).append((bound, value))
    for labels, pairs in buckets.items():
        bounds, values = zip(*pairs, strict=True)
        if list(bounds) != sorted(bounds) or bounds[-1] != float("inf"):
            raise ValueError(f"the bounds of {name} do not increase to +Inf: {bounds}")
        if list(values) != sorted(values) or values[-1] != family.samples[f"{name}_count", labels]:
            raise ValueError(f"the buckets of {name} are not cumulative: {values}")

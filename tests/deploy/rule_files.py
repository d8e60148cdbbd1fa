"""The rule files of Prometheus: recording rules and alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = ROOT / "deploy" / "prometheus"
FILES: Final = tuple(sorted((FOLDER / "rules").glob("*.yml")))

Rule = dict[str, Any]

_SELECTOR: Final = re.compile(r"(?<![\w:])((?:[a-z_]+:)?openqoe_[\w:]+|up)(\{[^}]*\})?")


def rules() -> Iterator[Rule]:
    """All rules, in the order in which they are evaluated."""
    for path in sorted(FILES, key=lambda path: "recording" not in path.name):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def recordings() -> list[Rule]:
    """The recording rules."""
    return [rule for rule in rules() if "record" in rule]


def alerts() -> list[Rule]:
    """The alerts."""
    return [rule for rule in rules() if "alert" in rule]


def selectors(expr: str) -> list[str]:
    """Every series selector of an expression, with its matchers."""
    return ["".join(found) for found in _SELECTOR.findall(expr)]


def metric_of(selector: str) -> str:
    """The name of the metric."""
    return selector.partition("{")[0]

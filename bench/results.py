"""The results of a run: the scripts write them as JSON, ``bench.page`` reads them."""

import json
import sys
from pathlib import Path
from typing import Any

from bench import machine

FOLDER = Path(__file__).parent / "results"


def is_quick() -> bool:
    """Whether the command line selects a short trial run."""
    return "--quick" in sys.argv[1:]


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Save the results of a full run; those of a short one are only printed."""
    if is_quick():
        return
    FOLDER.mkdir(exist_ok=True)
    content = {"machine": machine.describe(), "rows": rows}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(name: str) -> dict[str, Any] | None:
    """Load the results of the latest run; None without one."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    print(
        "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in row.items()
        ),
        flush=True,
    )

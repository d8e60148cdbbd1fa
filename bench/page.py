"""Writes the tables and plots of ``docs/performance.md`` from the results of the latest runs.

    python -m bench.page

It replaces the text between the markers of the page; the rest is prose.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plot

from bench import results

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
IMAGES = PAGE.parent / "images"

Row = dict[str, Any]

COLOURS = {"null": "#b8bfc9", "memory": "#58a6c7", "normal": "#2f6db3", "full": "#1b3a66"}


def table(rows: Sequence[Row], columns: Iterable[str]) -> str:
    """Format rows as a Markdown table."""
    names = list(columns)
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(_text(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _machine(content: Row) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    return f"Measured on: {machine}.\n\n"


def core(rows: list[Row]) -> str:
    figure, axes = plot.subplots(figsize=(7, 3.2))
    names = [f"batches of {row['batch']:,}" for row in rows]
    axes.barh(names, [row["core µs"] for row in rows], color=COLOURS["normal"], label="core")
    axes.barh(names, [row["floor µs"] for row in rows], color=COLOURS["null"], label="floor")
    axes.invert_yaxis()
    axes.set_xlabel("CPU µs an event")
    axes.legend()
    picture = _save(figure, "performance-core", "CPU of the core by batch size, beside the floor")
    return f"{picture}\n\n{table(rows, rows[0])}"


def throughput(rows: list[Row]) -> str:
    shells = list(dict.fromkeys(row["shell"] for row in rows))
    figure, axes = plot.subplots(1, len(shells), figsize=(3.2 * len(shells), 3.4), sharey=True)
    for place, shell in zip([axes] if len(shells) == 1 else axes, shells, strict=True):
        shown = [
            row
            for row in rows
            if row["shell"] == shell and row["batch"] == 10 and row["connections"] == 16
        ]
        names = [row["durability"] for row in shown]
        place.bar(names, [row["requests/s"] for row in shown], color=[COLOURS[n] for n in names])
        place.set_title(shell)
        place.tick_params(axis="x", labelsize=8)
    figure.supylabel("requests a second")
    picture = _save(figure, "performance-throughput", "Requests a second by shell and durability")
    return f"{picture}\n\n{table(rows, rows[0])}"


def rates(rows: list[Row]) -> str:
    figure, axes = plot.subplots(figsize=(7, 3.8))
    names = [f"{row['shell']}, {row['load']}" for row in rows]
    axes.barh(names, [row["p99"] for row in rows], color=COLOURS["normal"], label="p99")
    axes.barh(names, [row["p50"] for row in rows], color=COLOURS["memory"], label="p50")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("ms until the answer")
    axes.legend()
    picture = _save(figure, "performance-latency", "Time until the answer at 70% and at twice")
    return f"{picture}\n\n{table(rows, rows[0])}"


def scale(rows: list[Row]) -> str:
    figure, (left, right) = plot.subplots(1, 2, figsize=(9, 3.4))
    for subject in dict.fromkeys(row["what"] for row in rows):
        shown = [row for row in rows if row["what"] == subject]
        counts = [row["count"] for row in shown]
        left.plot(counts, [row["floors"] for row in shown], "o-", label=subject)
        right.plot(counts, [row["longest hold ms"] for row in shown], "o-", label=subject)
    for axes, title in ((left, "CPU of an event, in floors"), (right, "longest hold, ms")):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(title)
    left.legend(fontsize=8)
    picture = _save(figure, "performance-scale", "Cost of an event and longest hold by size")
    return f"{picture}\n\n{table(rows, rows[0])}"


def memory(rows: list[Row]) -> str:
    return table(rows, rows[0])


SECTIONS: dict[str, Callable[[list[Row]], str]] = {
    "core": core,
    "throughput": throughput,
    "rates": rates,
    "memory": memory,
    "scale": scale,
}


def _save(figure: Any, name: str, description: str) -> str:
    IMAGES.mkdir(exist_ok=True)
    figure.tight_layout()
    for kind in ("svg", "png"):
        # No date and no random ids: equal results give equal files.
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(IMAGES / f"{name}.{kind}", dpi=110, metadata=metadata)
    plot.close(figure)
    return f"![{description}](images/{name}.svg)"


def main() -> None:
    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "openqoe", "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "font.size": 9})
    page = PAGE.read_text(encoding="utf-8")
    for name, section in SECTIONS.items():
        content = results.load(name)
        if content is None or not content["rows"]:
            continue
        text = _machine(content) + section(content["rows"])
        begin, end = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(page):
            raise SystemExit(f"{PAGE.name} has no markers for {name}")
        page = pattern.sub(f"{begin}\n\n{text}\n\n{end}".replace("\\", r"\\"), page)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Writes the Grafana dashboards: ``make dashboards``, or with another address of the runbooks

    python deploy/grafana/generate.py --runbooks https://wiki.example.com/openqoe

A test checks that ``deploy/grafana/dashboards`` is up to date.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from boards import engagement, events, live, overview, quality, view, vod, worker

BOARDS: dict[str, Callable[[str | None], str]] = {
    "overview": overview.build,
    "vod": vod.build,
    "live": live.build,
    "quality": quality.build,
    "engagement": engagement.build,
    "events": events.build,
    "view": view.build,
    "worker": worker.build,
}


def main() -> None:
    """Write every dashboard."""
    parser = argparse.ArgumentParser(description="Write the Grafana dashboards.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "dashboards",
        help="folder to write to (default: dashboards, beside this file)",
    )
    parser.add_argument(
        "--runbooks", help="address of the runbooks, for links (default: their path)"
    )
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for name, build in BOARDS.items():
        (given.output / f"openqoe-{name}.json").write_text(build(given.runbooks), encoding="utf-8")


if __name__ == "__main__":
    main()

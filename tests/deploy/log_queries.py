"""Every LogQL query of the dashboards and of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.deploy import dashboard_files
from tests.deploy.dashboard_files import NAMES, ROOT, Query

DOCS: Final = ROOT / "docs"

_TIMES: Final = {"__range": "1h", "__auto": "1m"}
_BLOCK: Final = re.compile(r"```logql\n(.*?)\n```", re.DOTALL)
_ANY_BLOCK: Final = re.compile(r"```.*?```", re.DOTALL)
_INLINE: Final = re.compile(r"`([^`{]*\{\w+=~?\"[^`]*\} \|[^`]*)`")


def all_log_queries() -> Iterator[Query]:
    """The queries, with the default values of their variables."""
    for name in NAMES:
        dashboard = dashboard_files.load(name)
        values = {**_TIMES, **dashboard_files.default_values(dashboard)}
        for query in dashboard_files.queries(dashboard):
            if query.language == "loki":
                expr = dashboard_files.substitute(query.expr, values)
                yield Query(f"{name}: {query.where}", "loki", expr, query.instant)
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8").replace(r"\|", "|")  # escaped in tables
        for expr in (*_BLOCK.findall(text), *_INLINE.findall(_ANY_BLOCK.sub("", text))):
            yield Query(page.stem, "loki", expr)


LOG_QUERIES: Final = tuple(all_log_queries())

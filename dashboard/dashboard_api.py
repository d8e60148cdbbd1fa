"""The API below ``/dashboard/api/``: questions by GET, answers in JSON.

``docs/dashboard.md`` describes it for users. A question that cannot be understood is answered
with 400 and the parameter's name, one that takes too long with 503.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Page
from openqoe.core.version import VERSION
from openqoe.shells.service.clock import monotonic, now_ms

from . import audience, operations, parameters
from .gauges import REPEATED
from .parameters import FILTERS, MINUTE, RANGE, ParameterError
from .sample_reader import TIME_LIMIT, QueryTimeoutError, Reader
from .tail import tail

Query = Mapping[str, str]

Key = tuple[object, ...]

COSTLY: Final = 0.1
"""Seconds. An answer that took longer is given again for a while, so that many who look at the
same do not cost more than one."""

KEPT_FOR: Final = 5
"""Times as long as it took to make is it given again: then making it takes a sixth of one core."""

KEPT: Final = 100
"""Answers that are kept."""

_HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

_encode = msgspec.json.Encoder().encode


class Api:
    """All questions by name.

    Args:
        config: The settings.
        database: The embedded store's file.
        clock: Tells the current time in ms.
    """

    def __init__(self, config: Config, database: Path, clock: Callable[[], int] = now_ms) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._lookback = REPEATED + max(MINUTE, 2 * config.flush_interval)
        self._kept: dict[Key, tuple[float, Page]] = {}
        self._questions: dict[str, tuple[tuple[str, ...], Callable[[Reader, Query], Any]]] = {
            "overview": ((*RANGE, *FILTERS), self._overview),
            "timeline": ((*RANGE, "step", *FILTERS), self._timeline),
            "picture": ((*RANGE, *FILTERS), self._picture),
            "errors": ((*RANGE, *FILTERS), self._errors),
            "breakdown": (
                ("by", "order", "limit", "least_views", *RANGE, *FILTERS),
                self._breakdown,
            ),
            "filters": (RANGE, self._filters),
            "tail": (("event_type", "view_id", "contains", "after", "limit", *FILTERS), self._tail),
            "cardinality": (RANGE, self._cardinality),
            "delivery": (RANGE, self._delivery),
        }

    def answer(self, name: str, query: Query) -> Page:
        """The answer to a question; never raises for what was asked."""
        if name not in self._questions:
            there_are = ", ".join(self._questions)
            return _reply(404, {"success": False, "message": f"Not found: there are {there_are}"})
        known, ask = self._questions[name]
        key = (name, *sorted(query.items()))
        begun = monotonic()
        kept = self._kept.get(key)
        if kept is not None and begun < kept[0]:
            return kept[1]
        try:
            parameters.reject_unknown(query, known)
            with Reader(self._database) as reader:
                page = _reply(200, ask(reader, query))
            self._keep(key, page, monotonic() - begun)
            return page
        except ParameterError as error:
            fault = {"parameter": error.name, "error": error.fault}
            return _reply(400, {"success": False, "message": str(error), "errors": [fault]})
        except QueryTimeoutError:
            message = (
                f"The query took longer than {TIME_LIMIT:g} s: "
                "choose a shorter time range, or filter"
            )
            return _reply(503, {"success": False, "message": message})
        except sqlite3.Error:
            message = "The embedded store cannot be read; the worker's log says why"
            return _reply(503, {"success": False, "message": message})

    def _keep(self, key: Key, page: Page, took: float) -> None:
        if took >= COSTLY:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = (monotonic() + KEPT_FOR * took, page)

    def _scope(self, query: Query) -> parameters.Scope:
        return parameters.scope(query, self._clock())

    def _overview(self, reader: Reader, query: Query) -> Any:
        scope = self._scope(query)
        return {**_range(scope), **audience.overview(reader, scope, self._lookback)}

    def _timeline(self, reader: Reader, query: Query) -> Any:
        scope = self._scope(query)
        step = parameters.step(query, scope, self._config.flush_interval)
        return {**_range(scope), **audience.timeline(reader, scope, step, self._lookback)}

    def _picture(self, reader: Reader, query: Query) -> Any:
        scope = self._scope(query)
        return {**_range(scope), **audience.picture(reader, scope)}

    def _errors(self, reader: Reader, query: Query) -> Any:
        scope = self._scope(query)
        return {**_range(scope), **audience.errors(reader, scope)}

    def _breakdown(self, reader: Reader, query: Query) -> Any:
        by = parameters.choice(query, "by", audience.DIMENSIONS, "device_category")
        order = parameters.choice(query, "order", audience.ORDERS, "views")
        limit = parameters.number(query, "limit", 10, least=1, most=500)
        least = parameters.number(query, "least_views", 0, least=0, most=10**9)
        scope = self._scope(query)
        return {**_range(scope), **audience.breakdown(reader, scope, by, order, limit, least)}

    def _filters(self, reader: Reader, query: Query) -> Any:
        return audience.choices(reader, self._scope(query).since)

    def _tail(self, reader: Reader, query: Query) -> Any:
        return tail(
            reader,
            parameters.filters(query),
            event_type=parameters.text(query, "event_type"),
            view_id=parameters.text(query, "view_id"),
            contains=parameters.text(query, "contains"),
            after=parameters.number(query, "after", 0, least=0, most=10**15 - 1),
            limit=parameters.number(query, "limit", 100, least=1, most=1000),
        )

    def _cardinality(self, reader: Reader, query: Query) -> Any:
        scope = self._scope(query)
        limits = self._config.cardinality_limits
        return {
            **_range(scope),
            **operations.cardinality(reader, scope, self._lookback, limits),
        }

    def _delivery(self, reader: Reader, query: Query) -> Any:
        scope = self._scope(query)
        return {
            **_range(scope),
            "version": VERSION,
            **operations.delivery(reader, scope, self._lookback),
        }


def _range(scope: parameters.Scope) -> dict[str, int]:
    return {"from": scope.since, "to": scope.until}


def _reply(status: int, document: Any) -> Page:
    return Page(status, _HEADERS, _encode(document))

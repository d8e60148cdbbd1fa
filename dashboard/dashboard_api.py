"""The API below ``/dashboard/api/``: questions by GET, answers in JSON.

``docs/dashboard.md`` describes it for users. A question with an invalid parameter is answered with
400 and the parameter's name, one that needs too much time with 503.
"""

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Page
from openqoe.core.version import VERSION
from openqoe.shells.service.clock import monotonic, now_ms

from . import audience_queries, query_parameters, view_queries, worker_queries
from .event_tail import tail
from .gauge_values import REPEAT_INTERVAL
from .query_parameters import FILTERS, MINUTE, RANGE, ParameterError, Scope
from .sample_reader import TIME_LIMIT, QueryTimeoutError, Reader
from .worker_queries import WorkerState

Query = Mapping[str, str]
Question = Callable[[Reader, Scope, Query], Any]

Key = tuple[object, ...]

RANGELESS: Final = ("filters", "tail", "view")
"""Questions whose answers do not state the time range."""

CACHED_FROM: Final = 0.1
"""Seconds. An answer that needed longer is cached, so that many viewers of one page cost no more
than one."""

CACHED_FOR: Final = 5
"""An answer is cached for this many times the time it needed, so its query uses at most a sixth of
a core."""

MAX_CACHED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of the cached answers."""

_HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

_encode = msgspec.json.Encoder().encode


class Api:
    """All questions by name.

    Args:
        config: The settings.
        database: The embedded store's file.
        clock: Returns the current time in ms.
    """

    def __init__(self, config: Config, database: Path, clock: Callable[[], int] = now_ms) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._lookback = REPEAT_INTERVAL + max(MINUTE, 2 * config.flush_interval)
        self._cache: dict[Key, tuple[float, Page]] = {}
        self._questions: dict[str, tuple[tuple[str, ...], Question]] = {
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
            "views": (
                (
                    *("outcome", "min_rebuffer", "min_startup", *view_queries.TEXTS),
                    *("sort", "cursor", "limit", "format", *RANGE, *FILTERS),
                ),
                self._views,
            ),
            "view": (("org_id", "view_id", "video_id", "player"), self._view),
            "cardinality": (RANGE, self._cardinality),
            "delivery": (RANGE, self._delivery),
        }

    def answer(
        self,
        name: str,
        query: Query,
        orgs: tuple[str, ...] | None = None,
        worker_state: WorkerState | None = None,
        *,
        hides_viewers: bool = False,
    ) -> Page:
        """Answer a question; a faulty question gets a page with a status, no exception.

        Args:
            name: The question.
            query: Its parameters.
            orgs: Organisations whose data the answer may depend on; None for all.
            worker_state: The current state of this worker, with the question ``delivery``.
            hides_viewers: Whether it must not depend on ids of viewers and sessions.
        """
        if name not in self._questions:
            names = ", ".join(self._questions)
            return _reply(404, {"success": False, "message": f"Not found; known: {names}"})
        known, ask = self._questions[name]
        if worker_state is not None and "to" not in query:  # a range that ends now
            ask = partial(self._delivery, worker_state=worker_state)
        key = (name, orgs, hides_viewers, *sorted(query.items()))
        began = monotonic()
        cached = self._cache.get(key)
        if cached is not None and began < cached[0]:
            return cached[1]
        try:
            query_parameters.reject_unknown(query, known)
            if hides_viewers:
                query_parameters.reject_viewers(query)
            with Reader(self._database, orgs=orgs, hides_viewers=hides_viewers) as reader:
                scope = query_parameters.scope(query, self._clock())
                answer = ask(reader, scope, query)
            if isinstance(answer, Page):
                return answer
            if name not in RANGELESS:
                answer = {"from": scope.since, "to": scope.until, **answer}
            page = _reply(200, answer)
            self._store_in_cache(key, page, monotonic() - began)
            return page
        except ParameterError as error:
            fault = {"parameter": error.name, "error": error.fault}
            return _reply(400, {"success": False, "message": str(error), "errors": [fault]})
        except QueryTimeoutError:
            message = (
                f"The query needed more than {TIME_LIMIT:g} s: "
                "choose a shorter time range, or filter"
            )
            return _reply(503, {"success": False, "message": message})
        except sqlite3.Error:
            message = "The embedded store cannot be read; see the worker's log"
            return _reply(503, {"success": False, "message": message})

    def _store_in_cache(self, key: Key, page: Page, seconds: float) -> None:
        if seconds >= CACHED_FROM:
            now = monotonic()
            # Several threads load pages, so each works on a dictionary of its own.
            cache = {known: entry for known, entry in self._cache.items() if now < entry[0]}
            free = MAX_CACHED_BYTES - sum(len(cached.body) for _, cached in cache.values())
            if len(page.body) <= free:
                cache[key] = (now + CACHED_FOR * seconds, page)
            self._cache = cache

    def _overview(self, reader: Reader, scope: Scope, query: Query) -> Any:
        return audience_queries.overview(reader, scope, self._lookback)

    def _timeline(self, reader: Reader, scope: Scope, query: Query) -> Any:
        step = query_parameters.step(query, scope, self._config.flush_interval)
        return audience_queries.timeline(reader, scope, step, self._lookback)

    def _picture(self, reader: Reader, scope: Scope, query: Query) -> Any:
        return audience_queries.picture(reader, scope)

    def _errors(self, reader: Reader, scope: Scope, query: Query) -> Any:
        return audience_queries.errors(reader, scope)

    def _breakdown(self, reader: Reader, scope: Scope, query: Query) -> Any:
        by = query_parameters.choice(query, "by", audience_queries.DIMENSIONS, "device_category")
        order = query_parameters.choice(query, "order", audience_queries.ORDERS, "views")
        limit = query_parameters.number(query, "limit", 10, least=1, most=500)
        least = query_parameters.number(query, "least_views", 0, least=0, most=10**9)
        return audience_queries.breakdown(reader, scope, by, order, limit, least)

    def _filters(self, reader: Reader, scope: Scope, query: Query) -> Any:
        return audience_queries.filter_values(reader, scope.since)

    def _tail(self, reader: Reader, scope: Scope, query: Query) -> Any:
        return tail(
            reader,
            scope.filters,
            event_type=query_parameters.text(query, "event_type"),
            view_id=query_parameters.text(query, "view_id"),
            contains=query_parameters.text(query, "contains"),
            after=query_parameters.number(query, "after", 0, least=0, most=10**15 - 1),
            limit=query_parameters.number(query, "limit", 100, least=1, most=1000),
        )

    def _views(self, reader: Reader, scope: Scope, query: Query) -> Any:
        form = query_parameters.choice(query, "format", ("json", "csv"), "json")
        outcomes = ("", *view_queries.OUTCOMES)
        found = view_queries.views(
            reader,
            scope,
            texts={name: query_parameters.text(query, name) for name in view_queries.TEXTS},
            outcome=query_parameters.choice(query, "outcome", outcomes, ""),
            min_rebuffer=query_parameters.decimal(query, "min_rebuffer"),
            min_startup=query_parameters.decimal(query, "min_startup"),
            sort=query_parameters.choice(query, "sort", view_queries.SORTS, "last_seen"),
            cursor=query_parameters.text(query, "cursor"),
            limit=query_parameters.number(query, "limit", 50, least=1, most=10_000),
        )
        if form == "json":
            return found
        headers = (
            ("Content-Type", "text/csv; charset=utf-8"),
            ("Content-Disposition", 'attachment; filename="views.csv"'),
            ("Cache-Control", "no-store"),
        )
        return Page(200, headers, view_queries.as_csv(found["views"]).encode())

    def _view(self, reader: Reader, scope: Scope, query: Query) -> Any:
        for name in ("org_id", "view_id"):
            if not query.get(name):
                raise ParameterError(name, "is required")
        return view_queries.view(
            reader,
            self._config,
            org_id=query_parameters.text(query, "org_id"),
            view_id=query_parameters.text(query, "view_id"),
            video_id=query_parameters.text(query, "video_id"),
            player=query_parameters.text(query, "player"),
        )

    def _cardinality(self, reader: Reader, scope: Scope, query: Query) -> Any:
        limits = self._config.cardinality_limits
        return worker_queries.cardinality(reader, scope, self._lookback, limits)

    def _delivery(
        self, reader: Reader, scope: Scope, query: Query, worker_state: WorkerState | None = None
    ) -> Any:
        answer = worker_queries.delivery(reader, scope, self._lookback, worker_state)
        return {"version": VERSION, **answer}


def _reply(status: int, document: Any) -> Page:
    return Page(status, _HEADERS, _encode(document))

"""The dashboard that the worker serves at ``/``: its files, and its queries of the embedded store.

The core decides on access and headers (``core/api/dashboard_access.py``).

    page_threads        loads pages in threads
    pages               finds the page of a path: a file of static/, plotly_library, dashboard_api
    dashboard_api       the questions, by name
    query_parameters    time range, filters and other parameters of a question
    audience_queries    answers about viewers, with qoe_measures and quantiles
    view_queries        answers about single views, with view_sentence
    worker_queries      answers about workers and destinations
    event_tail          the latest events
    counter_increases, gauge_values, series_selection, sample_reader    SQL
"""

from .page_threads import BROKEN, PageThreads
from .pages import Pages

__all__ = ["BROKEN", "PageThreads", "Pages"]

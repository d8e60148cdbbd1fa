"""The sink of views: turns the views that have changed into payloads of rows."""

from collections.abc import Sequence

import msgspec

from ..delivery.payload import Payload
from ..primitives.incremental import UNITS_PER_YIELD, IncrementalWork
from ..qoe.view import retained_details
from ..qoe.view_rows import ChangedViews, row_of
from ..wire import view_rows

MAX_ROWS = 5_000
"""Rows of one request: about 1 MB, and 0.1 s of the store's time."""

_encode = msgspec.msgpack.Encoder().encode


def drain_payloads(changed: ChangedViews, now: int) -> IncrementalWork[Sequence[Payload]]:
    """Encodes the rows of the views that have changed since the previous call."""
    payloads: list[Payload] = []
    rows: list[bytes] = []
    for number, view in enumerate(changed.drain(), 1):
        row = row_of(view, now)
        view.details = retained_details(view.details)
        if row is not None:
            rows.append(_encode(row))
        if len(rows) == MAX_ROWS:
            payloads.append(_payload(rows, now))
            rows = []
        if number % UNITS_PER_YIELD == 0:
            yield UNITS_PER_YIELD
    if rows:
        payloads.append(_payload(rows, now))
    return payloads


def _payload(rows: Sequence[bytes], now: int) -> Payload:
    return Payload("views", view_rows.HEADERS, view_rows.encode_request(rows), len(rows), now)

"""The memory that a client can pin: texts of any length, in any field, stay out of the caches."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from openqoe.core.events.cmcd_target import CACHE_BYTES, read_target, unwrap, wrap
from openqoe.core.http.head import read_head
from openqoe.core.http.messages import Response
from openqoe.core.http.parser_choice import select_parser
from openqoe.core.http.response_encoder import encode_response
from tests.support.event_builders import NOW
from tests.support.rig import Rig, player_event

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def used(folder: str = "") -> int:
    """Bytes that the core has allocated; the doubles of the receivers keep all they receive."""
    gc.collect()
    core = tracemalloc.Filter(True, f"*/openqoe/core/{folder}*")
    snapshot = tracemalloc.take_snapshot().filter_traces([core])
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


def error(number: int, details: str) -> dict[str, Any]:
    return player_event(
        number, "error", 1.0, error_code=-1, error_context={"error_details": details}
    )


def test_details_of_an_error_are_shortened_before_they_are_a_key() -> None:
    """hls.js errors of 1 MB each, in 0.5 MB of gzip, pinned 1.5 GB."""
    rig = Rig()
    rig.post(error(0, "x"))
    rig.flush()
    before = used()
    for number in range(30):
        rig.post(error(number, f"{number}" + "x" * 900_000))
        rig.flush()
    assert used() - before < 4 * MIB


def test_ids_of_views_in_log_metadata_are_bounded_in_bytes() -> None:
    rig = Rig()
    rig.post(player_event(0, "heartbeat", 1.0))
    rig.flush()
    before = used()
    for number in range(10):
        long = [f"{number}-{each}-" + "x" * 2_000 for each in range(100)]
        rig.post(*(player_event(number, "ad", 1.0, video=one, view_id=one[:250]) for one in long))
        rig.flush()
    views = 1_000 * 2_200
    assert used() - before < views + 8 * MIB + 4 * MIB


def test_cached_request_heads_are_bounded_in_bytes() -> None:
    parse = select_parser("h11")
    before = used()
    for number in range(600):
        filler = b"%d" % number + b"x" * 15_000
        read_head(
            b"POST /v1/events HTTP/1.1\r\nHost: a\r\nCookie: %b\r\nContent-Length: 5\r\n\r\n"
            % filler,
            parse,
        )
    assert used() - before < 8 * MIB


def test_cached_response_headers_are_bounded_in_bytes() -> None:
    before = used()
    for number in range(256):
        origin = f"https://{number}.example" + "x" * 20_000
        encode_response(Response(204, (("Access-Control-Allow-Origin", origin),)), NOW)
    assert used() - before < 2 * MIB


def bytes_of_views(title: str) -> int:
    rig = Rig({"OPENQOE_EMBEDDED": "on"})
    before = used()
    for number in range(200):
        video = {"id": "film", "title": f"{number}{title}"}
        rig.post({**player_event(0, "playing", 0.0, view=f"v{number}"), "video": video})
    rig.flush()
    return used() - before


def test_details_of_views_do_not_outlive_their_rows() -> None:
    """150,000 views kept ids, titles and errors of up to 9 KB each."""
    bytes_of_views("")  # what is made once is no detail
    difference = bytes_of_views("\U0001f600" * 510) - bytes_of_views("")
    assert difference < 200 * 510 * 4 / 4


def test_ended_views_beyond_the_limit_are_freed() -> None:
    """Each stayed in the queue of expiry for half an hour: 700 MB at 400 new views a second."""
    rig = Rig(OPENQOE_MAX_VIEWS="160", LOKI_URL=None)

    def send(numbers: range) -> None:
        for number in numbers:
            kinds = enumerate(("viewstart", "playing", "ended"))
            rig.post(*(player_event(at, kind, 0.0, view=f"v{number}") for at, kind in kinds))
            if number % 50 == 0:
                rig.pass_time(61_000)  # a view that played to its end expires after a minute

    send(range(300))
    before = used("qoe/")
    send(range(300, 700))
    assert used("qoe/") - before < 400 * 800 / 4


def test_cached_targets_of_cmcd_are_bounded_in_bytes() -> None:
    """4,096 queries of 32 KB each were cached twice."""
    before, _ = tracemalloc.get_traced_memory()
    for number in range(1_000):
        query = f"org_id=acme&player_id=web&env={number}" + "x" * 10_000
        target = read_target(query, {"user-agent": "y" * 10_000}, 2_048)
        unwrap(wrap(target, b"[]"))
    assert tracemalloc.get_traced_memory()[0] - before < 2 * CACHE_BYTES

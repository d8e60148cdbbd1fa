"""Content types and codings of bodies."""

import gzip
import random
import zlib
from collections.abc import Mapping

import pytest

from openqoe.core.api.content import RefusedContentError, decode_body
from openqoe.core.http.messages import Request
from tests.core.api.worker_client import ask, counter_value, make_worker
from tests.support.event_builders import batch, event

BODY = batch(event())
LIMIT = 100_000


def gzipped(data: bytes, level: int = 9) -> bytes:
    # Without a timestamp, because the bytes are part of test names and must not change.
    return gzip.compress(data, level, mtime=0)


def raw_deflate(data: bytes, level: int = 6) -> bytes:
    deflater = zlib.compressobj(level, wbits=-15)
    return deflater.compress(data) + deflater.flush()


def plain(body: bytes, headers: Mapping[str, str]) -> bytes:
    return decode_body(Request("POST", "/events", headers=headers, body=body), 1 << 30, LIMIT)


def refused(body: bytes, coding: str) -> tuple[int, str]:
    with pytest.raises(RefusedContentError) as caught:
        plain(body, {"content-encoding": coding})
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 202),
        ("", 202),
        ("application/json", 202),
        ("Application/JSON ; charset=UTF-8", 202),
        ("text/plain;charset=UTF-8", 202),
        ("application/cmcd", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("text/html", 415),
        ("application/json, application/json", 202),
        ("application/json; charset=utf-8, application/json", 202),
        ("application/json, text/html", 415),
        ("*/*", 415),
    ],
)
def test_content_type_decides_202_or_415(content_type: str | None, status: int) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = ask(make_worker(), "/events", method="POST", headers=headers, body=BODY)
    assert answer.status == status
    if status == 415:
        assert answer.json == {
            "success": False,
            "message": "Unsupported content type: send application/json, text/plain, or none",
        }


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", BODY),
        ("identity", BODY),
        ("gzip", gzipped(BODY)),
        ("GZip", gzipped(BODY)),
        (" x-gzip ", gzipped(BODY, 0)),
        ("gzip", gzipped(BODY[:10]) + gzipped(BODY[10:])),
        ("gzip", gzipped(b"") * 50 + gzipped(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, 0)),
        ("deflate", zlib.compress(BODY, 9)),
        ("deflate", raw_deflate(BODY)),
        ("deflate", raw_deflate(BODY, 0)),
        ("deflate", raw_deflate(b"")),
    ],
)
def test_content_coding_is_removed(coding: str, body: bytes) -> None:
    expected = b"" if body == raw_deflate(b"") else BODY
    assert plain(body, {"content-encoding": coding}) == expected


def test_raw_deflate_and_zlib_are_distinguished() -> None:
    random_bytes = random.Random(1)
    for _ in range(300):
        data = random_bytes.randbytes(random_bytes.randrange(60))
        for level in (0, 1, 9):
            for deflated in (raw_deflate(data, level), zlib.compress(data, level)):
                assert plain(deflated, {"content-encoding": "deflate"}) == data


@pytest.mark.parametrize(
    ("coding", "body", "status", "message"),
    [
        ("br", BODY, 415, "Unsupported content encoding: send gzip, deflate, or none"),
        ("zstd", BODY, 415, "Unsupported content encoding: send gzip, deflate, or none"),
        ("gzip", zlib.compress(BODY), 400, "Damaged gzip data in request body"),
        ("gzip", gzipped(BODY) + b"junk", 400, "Damaged gzip data in request body"),
        ("gzip", gzipped(BODY)[:-8] + bytes(8), 400, "Damaged gzip data in request body"),
        ("gzip", b"", 400, "Truncated gzip data in request body"),
        ("gzip", gzipped(BODY)[:-1], 400, "Truncated gzip data in request body"),
        ("gzip", gzipped(BODY)[:40], 400, "Truncated gzip data in request body"),
        ("deflate", b"", 400, "Truncated deflate data in request body"),
        ("deflate", zlib.compress(BODY)[:-1], 400, "Truncated deflate data in request body"),
        ("deflate", raw_deflate(BODY)[:-1], 400, "Truncated deflate data in request body"),
    ],
)
def test_unknown_or_damaged_coding_is_refused(
    coding: str, body: bytes, status: int, message: str
) -> None:
    assert refused(body, coding) == (status, message)
    worker = make_worker()
    answer = ask(worker, "/events", method="POST", headers={"content-encoding": coding}, body=body)
    assert (answer.status, answer.json) == (status, {"success": False, "message": message})
    assert counter_value(worker, "batches_rejected_total", reason="content") == 1


TOO_LARGE = (413, "Request body is larger than 100000 bytes once inflated")


@pytest.mark.parametrize(
    ("size", "fits"), [(LIMIT, True), (LIMIT + 1, False), (1000 * LIMIT, False)]
)
def test_inflated_body_above_limit_is_refused_413(size: int, fits: bool) -> None:
    data = bytes(size)
    for coding, body in (
        ("gzip", gzipped(data, 1)),
        ("gzip", gzipped(data[: size // 2], 1) + gzipped(data[size // 2 :], 1)),
        ("deflate", zlib.compress(data, 1)),
        ("deflate", raw_deflate(data, 1)),
    ):
        if fits:
            assert plain(body, {"content-encoding": coding}) == data
        else:
            assert refused(body, coding) == TOO_LARGE


@pytest.mark.timeout(60)
def test_body_of_many_empty_members_is_refused_413() -> None:
    body = gzipped(b"") * 250_000
    assert refused(body, "gzip") == (413, "More than 100 gzip members in request body")


def test_limit_of_inflated_body_is_a_setting() -> None:
    worker = make_worker(OPENQOE_MAX_INFLATED_BYTES="1024")
    body = gzip.compress(batch(*[event()] * 3))
    answer = ask(worker, "/events", method="POST", headers={"content-encoding": "gzip"}, body=body)
    assert answer.status == 413
    assert answer.json["message"] == "Request body is larger than 1024 bytes once inflated"


def test_batch_in_another_coding_is_a_duplicate() -> None:
    worker = make_worker()
    for coding, body in (("", BODY), ("gzip", gzipped(BODY)), ("deflate", raw_deflate(BODY))):
        headers = {"content-encoding": coding}
        assert ask(worker, "/events", method="POST", headers=headers, body=body).status == 202
    assert counter_value(worker, "events_accepted_total") == 1


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("coding", ["", "identity", "gzip", "x-gzip", "deflate", "gzip, gzip"])
@pytest.mark.parametrize(
    "body", [BODY, BOM + BODY, b" \n" + BODY, gzipped(BODY), gzipped(BOM + BODY)]
)
def test_body_decides_where_its_coding_is_certain(coding: str, body: bytes) -> None:
    assert plain(body, {"content-encoding": coding} if coding else {}).strip() == BODY


def test_batch_with_byte_order_mark_is_accepted_and_equals_the_one_without() -> None:
    worker = make_worker()
    for body in (BOM + BODY, BODY):
        assert ask(worker, "/events", method="POST", body=body).status == 202
    assert counter_value(worker, "batches_duplicate_total") == 1

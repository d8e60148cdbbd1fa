"""Encoding of responses."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.http import Response
from openqoe.core.http.response_encoder import encode_response

NOW = 784_111_777_000


def test_response_with_headers_and_body() -> None:
    response = Response(202, (("Content-Type", "application/json"), ("Vary", "Origin")), b"{}")
    assert encode_response(response, NOW, connection="close") == (
        b"HTTP/1.1 202 Accepted\r\n"
        b"Content-Type: application/json\r\n"
        b"Vary: Origin\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"Connection: close\r\n"
        b"Content-Length: 2\r\n"
        b"\r\n"
        b"{}"
    )


def test_response_without_headers_and_body() -> None:
    assert encode_response(Response(200), 0) == (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    )


def test_status_without_a_name_has_an_empty_reason() -> None:
    assert encode_response(Response(299), 0).startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body(status: int) -> None:
    sent = encode_response(Response(status, body=b"lost"), 0)
    assert sent.endswith(b"GMT\r\n\r\n")
    assert b"Content-Length" not in sent


@given(st.integers(0, 253_402_300_799_999))
def test_date_equals_that_of_the_standard_library(now: int) -> None:
    date = formatdate(now // 1000, usegmt=True).encode()
    assert b"\r\nDate: " + date + b"\r\n" in encode_response(Response(200), now)


@pytest.mark.parametrize(
    "header",
    [
        ("A", "b\r\nSet-Cookie: c=d"),
        ("A", "b\r\n\r\nHTTP/1.1 200 OK"),
        ("A", "b\nC: d"),
        ("A", "b\rC: d"),
        ("A", "b\r\n"),
        ("A", "b\r\n c"),
        ("A", "b\x00"),
        ("A\r\nB", "c"),
        ("A: b\r\nC", "d"),
        ("A B", "c"),
        ("", "c"),
        ("A", "\u4e2d"),
        ("A", "b\u010d\u010a"),  # CR and LF if an encoder drops the high byte
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "keep-alive"),
    ],
)
def test_malformed_or_reserved_header_raises(header: tuple[str, str]) -> None:
    for headers in ([header], [("X", "y"), header], [header, ("X", "y")]):
        with pytest.raises(ValueError):
            encode_response(Response(200, tuple(headers)), 0)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=9)), max_size=4))
def test_header_never_becomes_two(headers: list[tuple[str, str]]) -> None:
    try:
        sent = encode_response(Response(200, tuple(headers), b"\r\n\r\n"), 0)
    except ValueError:
        return
    lines = sent.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    assert len(lines) == len(headers) + 2
    assert [line for line in lines if b"\r" in line or b"\n" in line] == []


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 199, 600, 1000])
def test_status_that_is_not_final_raises(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        encode_response(Response(status), 0)

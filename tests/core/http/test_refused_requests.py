"""Malformed requests: the status of each, the same for both parsers and any fragmentation."""

import json
import tracemalloc
from collections.abc import Mapping

import pytest

from openqoe.core.http import Connection, HttpLimits, Parser, Response
from openqoe.core.http.parser import Head, MalformedHeadError
from tests.core.http.exchange import Connect, Send

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes) -> bytes:
    return b"POST" + get(*lines)[3:] + b"xxxxx"


REFUSED = {
    # the request line
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab for a space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space behind the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "a space before the method": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a lone line feed before the method": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a lone carriage return before the method": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bytes above ASCII in the target": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target of no form": (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute form without a host": (b"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute form with a password": (b"GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk form without OPTIONS": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "version in small letters": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "version without a dot": (b"GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
    "another protocol": (b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", 400),
    "HTTP/2 without TLS": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "a method that llhttp knows": (b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "a method in small letters": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    # lines
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a bare line feed behind a header": (b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", 400),
    "a bare line feed as the empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "a bare carriage return in a value": (get(b"A: b\rContent-Length: 5"), 400),
    "two carriage returns": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    "a folded line": (get(b"A: b", b" c"), 400),
    "a folded line, by a tab": (get(b"A: b", b"\tc"), 400),
    "a first line that is folded": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "a space before the colon": (get(b"A : b"), 400),
    "a tab before the colon": (get(b"A\t: b"), 400),
    "no colon": (get(b"A"), 400),
    "no name": (get(b": b"), 400),
    "a name in quotes": (get(b'"A": b'), 400),
    "a name above ASCII": (get(b"\xc3\xa9: b"), 400),
    "NUL in a name": (get(b"A\x00: b"), 400),
    "NUL in a value": (get(b"A: b\x00c"), 400),
    "another control character in a value": (get(b"A: b\x0bc"), 400),
    "DEL in a value": (get(b"A: b\x7f"), 400),
    # Host
    "no Host": (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400),
    "two Hosts": (get(b"Host: b"), 400),
    "two Hosts that are equal": (get(b"Host: a"), 400),
    "two Hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "two names in one Host": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "a path in Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    # Content-Length
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "two lengths that are equal": (post(b"Content-Length: 5", b"content-length: 5"), 400),
    "two lengths in one header": (post(b"Content-Length: 5, 5"), 400),
    "two lengths in one header, no space": (post(b"Content-Length: 5,5"), 400),
    "a length with a sign": (post(b"Content-Length: +5"), 400),
    "a negative length": (post(b"Content-Length: -5"), 400),
    "a length in hexadecimal": (post(b"Content-Length: 0x5"), 400),
    "a length with an underscore": (post(b"Content-Length: 1_0"), 400),
    "a length with a space": (post(b"Content-Length: 1 0"), 400),
    "a length with a fraction": (post(b"Content-Length: 5.0"), 400),
    "an empty length": (post(b"Content-Length:"), 400),
    "a length in quotes": (post(b'Content-Length: "5"'), 400),
    "a length in other digits": (post(b"Content-Length: \xb2"), 400),
    "a length that fits no integer": (post(b"Content-Length: 18446744073709551621"), 400),
    # Transfer-Encoding
    "length and chunked": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "chunked and length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
    "chunked twice": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "chunked twice in one": (post(b"Transfer-Encoding: chunked, chunked"), 400),
    "chunked in two headers": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        400,
    ),
    "chunked but not last": (post(b"Transfer-Encoding: chunked, gzip"), 400),
    "chunked with a parameter": (post(b"Transfer-Encoding: chunked;q=1"), 400),
    "chunked in quotes": (post(b'Transfer-Encoding: "chunked"'), 400),
    "an empty coding": (post(b"Transfer-Encoding:"), 400),
    "a comma before chunked": (post(b"Transfer-Encoding: ,chunked"), 400),
    "a control character before chunked": (post(b"Transfer-Encoding: \x0bchunked"), 400),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "another coding": (post(b"Transfer-Encoding: gzip"), 501),
    "another coding before chunked": (post(b"Transfer-Encoding: gzip, chunked"), 501),
    "almost chunked": (post(b"Transfer-Encoding: xchunked"), 501),
    "identity": (post(b"Transfer-Encoding: identity"), 501),
    # chunks
    "a size that is no number": (CHUNKED + b"xyz\r\n", 400),
    "no size": (CHUNKED + b"\r\n", 400),
    "a size with a sign": (CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", 400),
    "a negative size": (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", 400),
    "a size with 0x": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "a size with an underscore": (CHUNKED + b"1_0\r\nhello\r\n0\r\n\r\n", 400),
    "a space before the size": (CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n", 400),
    "a space behind the size": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "a size of too many digits": (CHUNKED + b"0" * 17 + b"\r\n\r\n", 400),
    "a bare line feed behind the size": (CHUNKED + b"5\nhello\r\n0\r\n\r\n", 400),
    "a bare carriage return behind the size": (CHUNKED + b"5\rhello\r\n0\r\n\r\n", 400),
    "a bare line feed in an extension": (CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
    "a bare carriage return in an extension": (CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
    "NUL in an extension": (CHUNKED + b"5;\x00\r\nhello\r\n0\r\n\r\n", 400),
    "more data than the size says": (CHUNKED + b"4\r\nhello\r\n0\r\n\r\n", 400),
    "less data than the size says": (CHUNKED + b"6\r\nhello\r\n0\r\n\r\n", 400),
    "a bare line feed behind the data": (CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
    "two bytes that are not CRLF behind the data": (CHUNKED + b"5\r\nhelloxx0\r\n\r\n", 400),
    "a trailer without a colon": (CHUNKED + b"0\r\nA\r\n\r\n", 400),
    "a trailer with a bare line feed": (CHUNKED + b"0\r\nA: b\nC: d\r\n\r\n", 400),
    "a folded trailer": (CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n", 400),
    "a bare line feed for the end": (CHUNKED + b"0\r\n\n\r\n\r\n", 400),
    # the rest
    "another expectation": (post(b"Content-Length: 5", b"Expect: 200-ok"), 417),
    "one expectation more": (post(b"Content-Length: 5", b"Expect: 100-continue, x"), 417),
    "too many headers": (get(*[b"A: b"] * 100), 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_request_is_refused_with_its_status(send: Send, name: str) -> None:
    wire, status = REFUSED[name]
    result = send(wire)
    assert (result.requests, result.statuses, result.closed) == ([], [status], True)
    assert result.sent.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in result.sent


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_the_same_byte_by_byte(send: Send, name: str) -> None:
    wire, _ = REFUSED[name]
    pieces = [wire[i : i + 1] for i in range(len(wire))]
    assert send(*pieces).refusals == send(wire).refusals


def test_request_with_100_headers_is_accepted(send: Send) -> None:
    assert send(get(*[b"A: b"] * 99)).statuses == []


def test_head_rejected_by_the_library_is_refused() -> None:
    def parse(head: bytes) -> Head:
        raise MalformedHeadError("not mine")

    connection = Connection(HttpLimits(), 0, parse)
    connection.receive_data(get(), 0)
    assert connection.data_to_send().startswith(b"HTTP/1.1 400 ")


def test_requests_before_a_bad_one_are_served(send: Send) -> None:
    result = send(get() + get() + get(b"A : b") + get())
    assert len(result.requests) == 2
    assert result.statuses == [400]


def test_bytes_after_a_refusal_are_no_request(send: Send) -> None:
    smuggled = CHUNKED + b"zz\r\n" + get()
    assert send(smuggled).requests == []
    assert send(smuggled, get()).requests == []


def test_default_refusal_is_json(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(get(b"A : b"), 0)
    head, _, body = connection.data_to_send().partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert json.loads(body) == {"success": False, "message": "Malformed request header"}
    assert connection.data_to_send() == b""


def test_owner_builds_the_refusal_from_trusted_headers(parser: Parser) -> None:
    seen: list[tuple[int, str | None]] = []

    def refuse(status: int, message: str, headers: Mapping[str, str]) -> Response:
        seen.append((status, headers.get("origin")))
        return Response(status, (("Access-Control-Allow-Origin", headers.get("origin", "-")),))

    for head in (
        post(b"Origin: http://b", b"Content-Length: 9999"),
        post(b"Origin: http://b", b"Expect: x"),
        post(b"Origin: http://b", b"Content-Length: 5", b"Content-Length: 5"),
        get(b"Origin: http://b", b"A : b"),
    ):
        connection = Connection(HttpLimits(max_body_bytes=9998), 0, parser, refuse=refuse)
        connection.receive_data(head, 0)
        last = connection.data_to_send()
    assert seen == [(413, "http://b"), (417, "http://b"), (400, None), (400, None)]
    assert b"\r\nAccess-Control-Allow-Origin: -\r\n" in last


def test_refusal_has_no_headers_of_the_request_before(send: Send) -> None:
    result = send(get(b"Origin: http://b") + b"bad\r\n\r\n")
    assert result.refusals == [(400, "Malformed request line", {})]


@pytest.mark.parametrize("rest", [b"Host: a\r\nContent-Length: 9\r\n\r\n", b"Host : a\r\n\r\n"])
def test_refusal_of_head_has_no_body(connect: Connect, rest: bytes) -> None:
    connection = connect(max_body_bytes=8)
    connection.receive_data(b"HEAD / HTTP/1.1\r\n" + rest, 0)
    sent = connection.data_to_send()
    assert sent.startswith(b"HTTP/1.1 4")
    assert sent.endswith(b"\r\n\r\n")


def test_data_after_a_refusal_is_discarded(connect: Connect) -> None:
    connection = connect(max_body_bytes=10)
    connection.receive_data(post(b"Content-Length: 11"), 0)
    refusal = connection.data_to_send()
    assert refusal.startswith(b"HTTP/1.1 413 ")
    assert connection.linger > 0
    for _ in range(3):
        connection.receive_data(get(), 1)
        assert connection.next_request(1) is None
    assert connection.data_to_send() == b""
    assert connection.should_close
    assert connection.deadline is None


def test_discarded_data_uses_no_memory(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(b"bad\r\n", 0)
    flood = b"x" * 100_000
    tracemalloc.start()
    for _ in range(50):
        connection.receive_data(flood, 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(flood)

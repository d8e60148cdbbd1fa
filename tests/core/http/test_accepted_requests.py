"""Well-formed requests, and the ``Request`` that the owner gets."""

import sys
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.http import Request, h11_parser, httptools_parser, select_parser
from openqoe.core.http.head import RequestHead, _read, read_head
from openqoe.core.http.parser import Parser
from openqoe.core.http.refusal import RefusedError
from tests.core.http.exchange import Connect, Send, next_request

NOW = 1_700_000_000_000


def request(
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Request:
    return Request(method, path, query, headers or {"host": "a"}, body, NOW, last_byte_at=NOW)


GOOD = {
    "the shortest request": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", request()),
    "HTTP/1.0 needs no Host": (b"GET / HTTP/1.0\r\nA: b\r\n\r\n", request(headers={"a": "b"})),
    "no header at all": (
        b"GET / HTTP/1.0\r\n\r\n",
        Request("GET", "/", first_byte_at=NOW, last_byte_at=NOW),
    ),
    "empty lines before it": (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", request()),
    "query split off, nothing decoded": (
        b"GET /a%2Fb//c;d?x=%20&y=?z HTTP/1.1\r\nHost: a\r\n\r\n",
        request(path="/a%2Fb//c;d", query="x=%20&y=?z"),
    ),
    "odd but legal characters in the target": (
        b'GET /"<>[\\]^`{|}~?"{} HTTP/1.1\r\nHost: a\r\n\r\n',
        request(path='/"<>[\\]^`{|}~', query='"{}'),
    ),
    "absolute form: its host replaces Host": (
        b"GET http://b:80/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
        request(path="/c", query="d", headers={"host": "b:80"}),
    ),
    "absolute form without a path": (
        b"GET HTTPS://[::1] HTTP/1.1\r\nHost: a\r\n\r\n",
        request(headers={"host": "[::1]"}),
    ),
    "absolute form with a query only": (
        b"GET http://b?c/d HTTP/1.1\r\nHost: a\r\n\r\n",
        request(query="c/d", headers={"host": "b"}),
    ),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", request("OPTIONS", "*")),
    "methods that the owner may not support": (
        b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        request("DELETE"),
    ),
    "names in lower case, values without surrounding white space": (
        b"GET / HTTP/1.1\r\nHOST:a\r\nX-Sdk-Version: \t 1 \t2 \t\r\nEmpty:\r\nBlank:  \r\n\r\n",
        request(headers={"host": "a", "x-sdk-version": "1 \t2", "empty": "", "blank": ""}),
    ),
    "repeated headers joined": (
        b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n",
        request(headers={"host": "a", "a": "1, 3", "b": "2"}),
    ),
    "bytes above ASCII are latin-1": (
        b"GET / HTTP/1.1\r\nHost: a\r\nA: \xe9\xa0\r\n\r\n",
        request(headers={"host": "a", "a": "\xe9\xa0"}),
    ),
    "any token as a name": (
        b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~0: x\r\n\r\n",
        request(headers={"host": "a", "!#$%&'*+-.^_`|~0": "x"}),
    ),
    "body by length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz",
        request("POST", headers={"host": "a", "content-length": "3"}, body=b"xyz"),
    ),
    "length with zeros before and blanks behind": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:003 \t\r\n\r\nxyz",
        request("POST", headers={"host": "a", "content-length": "003"}, body=b"xyz"),
    ),
    "length 0": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        request("POST", headers={"host": "a", "content-length": "0"}),
    ),
    "GET with a body": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        request(headers={"host": "a", "content-length": "1"}, body=b"x"),
    ),
    "chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n",
        request("POST", body=b"abc0123456789"),
    ),
    "chunked, in capitals, with white space": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tChunked \t\r\n\r\n0\r\n\r\n",
        request("POST"),
    ),
    "chunk extensions and trailers are dropped": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'1;a=b;c="d e"\r\nx\r\n1 ; y\r\ny\r\n000;z\r\nHost: evil\r\nTrailer:\r\n\r\n',
        request("POST", body=b"xy"),
    ),
    "CRLF within a body is not special": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\n\r\n0\r\n\r\n\n\r\n0\r\n\r\n",
        request("POST", body=b"\r\n0\r\n\r\n\n"),
    ),
    "an offer to upgrade is ignored": (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 3\r\n\r\nxyz",
        request(
            "POST",
            headers={"host": "a", "connection": "Upgrade", "upgrade": "h2c", "content-length": "3"},
            body=b"xyz",
        ),
    ),
    "HTTP/1.0 ignores Expect": (
        b"POST / HTTP/1.0\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\nx",
        request("POST", headers={"expect": "miracles", "content-length": "1"}, body=b"x"),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_request_is_accepted(send: Send, name: str) -> None:
    wire, expected = GOOD[name]
    result = send(wire)
    assert result.requests == [expected]
    assert result.refusals == []


@pytest.mark.parametrize("name", GOOD)
def test_request_is_accepted_byte_by_byte(send: Send, name: str) -> None:
    wire, expected = GOOD[name]
    assert send(*[wire[i : i + 1] for i in range(len(wire))]).requests == [expected]


@pytest.mark.parametrize("name", GOOD)
def test_request_ends_where_the_next_begins(send: Send, name: str) -> None:
    wire, expected = GOOD[name]
    once = wire.replace(b"HTTP/1.0\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n")
    assert send(once * 3).requests == send(once).requests * 3
    assert send(wire).requests == [expected]


def test_first_byte_at_is_the_arrival_of_the_first_byte(connect: Connect) -> None:
    connection = connect(now=0)
    connection.receive_data(b"\r\n", 10)
    connection.receive_data(b"GET / HTTP/1.1\r\n", 20)
    connection.receive_data(b"Host: a\r\n\r\n", 30)
    assert next_request(connection, 40).first_byte_at == 20


def test_parser_is_h11_without_httptools(monkeypatch: pytest.MonkeyPatch) -> None:
    uncached = select_parser.__wrapped__
    assert uncached("auto") is uncached("httptools") is httptools_parser.parse_head
    assert uncached("h11") is h11_parser.parse_head
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "openqoe.core.http.httptools_parser")
    monkeypatch.delattr("openqoe.core.http.httptools_parser")
    assert uncached("auto") is h11_parser.parse_head
    with pytest.raises(ImportError):
        uncached("httptools")


@pytest.mark.parametrize("name", ["httptools", "h11"])
@given(data=st.data())
def test_cached_head_equals_uncached_head(name: str, data: st.DataObject) -> None:
    """Heads differ in length, key, spelling and other fields."""
    fields = data.draw(
        st.lists(
            st.sampled_from(
                [
                    b"Host: a.example",
                    b"Content-Length: 5",
                    b"Content-Length: 12",
                    b"content-length:7",
                    b"Content-Length: 5x",
                    b"Transfer-Encoding: chunked",
                    b"Idempotency-Key: a-1",
                    b"Idempotency-Key: 0",
                    b"idempotency-key:b",
                    b"Idempotency-Key: b, c",
                    b"X-Length: Content-Length: 9",
                ]
            ),
            max_size=5,
        )
    )
    head = b"\r\n".join([b"POST /events HTTP/1.1", *fields, b"", b""])
    parse = select_parser(name)

    def outcome(read: Callable[[bytes, Parser], RequestHead]) -> object:
        try:
            return read(head, parse)
        except RefusedError as refused:
            return refused.status, refused.message

    assert outcome(read_head) == outcome(_read)

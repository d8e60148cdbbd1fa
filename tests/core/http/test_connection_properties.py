"""Properties of a connection for any bytes, any fragmentation and both parsers.

They prove that the installed parser makes no difference, and that no client can change the meaning
of a request by its fragmentation into packets.
"""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.http import HttpLimits, Request
from tests.core.http.exchange import Exchange, ExchangeWithBoth, Refusal

NOW = 1_700_000_000_000
SETTINGS = settings(max_examples=80)

tokens = st.text("abcXYZ019-_.!~", min_size=1, max_size=8)
texts = st.text('abc XYZ\t019,;:="()\xe9\xff', max_size=12)
targets = st.text('abc/%2F.;=&+"{}|~', max_size=10)
bodies = st.binary(max_size=40)


@st.composite
def chunkings(draw: st.DrawFn, body: bytes) -> bytes:
    """Encode the body in chunks of drawn sizes, sometimes with extensions and trailers."""
    wire = b""
    while body:
        size = draw(st.integers(1, len(body)))
        zeros, extension = b"0" * draw(st.integers(0, 2)), draw(st.sampled_from([b"", b";a=b"]))
        wire += b"%s%x%s\r\n%s\r\n" % (zeros, size, extension, body[:size])
        body = body[size:]
    return wire + b"0\r\n" + draw(st.sampled_from([b"", b"A: b\r\n", b"A:\r\nB: c\r\n"])) + b"\r\n"


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[bytes, Request]:
    """Draw a request: its bytes, and the ``Request`` expected of them."""
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT"]))
    path, query, body = "/" + draw(targets), draw(targets), draw(bodies)
    headers = {"host": "a"}
    for name, value in draw(st.lists(st.tuples(tokens, texts), max_size=5)):
        headers["x-" + name.lower()] = value.strip(" \t")
    framing, content = draw(st.sampled_from(["none", "length", "chunked"])), b""
    if framing == "none":
        body = b""
    elif framing == "length":
        headers["content-length"], content = str(len(body)), body
    lines = [
        f"{name.title()}:{draw(st.sampled_from(['', ' ', chr(9)]))}{value}"
        for name, value in headers.items()
    ]
    if framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        content = draw(chunkings(body))
    lines = draw(st.permutations(lines))
    target = path + ("?" + query if query else "")
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")
    empty_line = draw(st.sampled_from([b"", b"\r\n"]))
    return empty_line + head + content, Request(
        method, path, query, headers, body, NOW, last_byte_at=NOW
    )


@st.composite
def splits(draw: st.DrawFn, wire: bytes) -> list[bytes]:
    """Split the bytes into pieces that are not empty."""
    cuts = draw(st.sets(st.integers(1, max(1, len(wire) - 1)), max_size=12))
    edges = [0, *sorted(cuts), len(wire)]
    return [wire[a:b] for a, b in pairwise(edges) if wire[a:b]]


FRAGMENTS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x7f", b"\xff", b":", b",", b";",
    b"#", b"?", b"0", b"1", b"f", b"Host: b\r\n", b"Content-Length: 3\r\n",
    b"Content-Length: 9999\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b" HTTP/1.0",
    b"Connection: upgrade\r\n", b"http://b", b"CONNECT", b"BREW", b"GET / HTTP/1.1\r\n",
    b"0\r\n\r\n", b"x" * 70,
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw requests with a few bytes removed, replaced or added."""
    wire = b"".join(part for part, _ in draw(st.lists(exchanges(), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(wire)))
        length = draw(st.sampled_from([0, 0, 1, 2, 8]))
        wire = wire[:start] + draw(st.sampled_from([b"", *FRAGMENTS])) + wire[start + length :]
    return wire


tight = st.sampled_from([HttpLimits(), HttpLimits(max_header_bytes=120, max_body_bytes=30)])


def outcome(result: Exchange) -> tuple[list[Request], list[Refusal], bool]:
    return result.requests, result.refusals, result.closed


@SETTINGS
@given(st.lists(exchanges(), min_size=1, max_size=3), st.data())
def test_fragmentation_does_not_change_requests(
    exchange_with_both: ExchangeWithBoth, drawn: list[tuple[bytes, Request]], data: st.DataObject
) -> None:
    pieces = data.draw(splits(b"".join(wire for wire, _ in drawn)))
    for result in exchange_with_both(pieces):
        assert result.requests == [request for _, request in drawn]
        assert result.refusals == []


@SETTINGS
@given(damaged(), tight, st.data())
def test_damaged_requests_have_one_outcome_for_all_parsers_and_splits(
    exchange_with_both: ExchangeWithBoth, wire: bytes, limits: HttpLimits, data: st.DataObject
) -> None:
    whole, other = exchange_with_both([wire, b""], limits)
    assert outcome(whole) == outcome(other)
    assert whole.closed
    for split in exchange_with_both([*data.draw(splits(wire)), b""], limits):
        assert outcome(split) == outcome(whole)


@SETTINGS
@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(FRAGMENTS)), max_size=8))
def test_any_bytes_end_in_requests_or_refusals(
    exchange_with_both: ExchangeWithBoth, parts: list[bytes]
) -> None:
    pieces = [part for part in parts if part]
    first, second = exchange_with_both([*pieces, b""])
    assert outcome(first) == outcome(second)
    assert first.closed
    assert all(400 <= status <= 505 for status in first.statuses)

"""Parsing of request heads, with a cache of heads seen before."""

import re
from collections.abc import Mapping

import msgspec

from ..primitives.bounded_cache import BoundedCache
from .framing import Framing, read_framing
from .grammar import check_head
from .messages import Request
from .parser import Head, MalformedHeadError, Parser
from .refusal import RefusedError


class RequestHead(msgspec.Struct, frozen=True):
    """A request without its body. The first four attributes are those of ``Request``.

    Attributes:
        framing: Delimitation of the body.
        is_1_0: Whether the request is HTTP/1.0.
        keep_alive: Whether the client wants the connection kept open.
        expects: The Expect header in lower case; "" if there is none, or in HTTP/1.0.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    framing: Framing
    is_1_0: bool
    keep_alive: bool
    expects: str

    def with_body(
        self, body: bytes, received: int, arrived: int, *, is_secure: bool = False, client: str = ""
    ) -> Request:
        """Return the complete request; see ``Request`` for the arguments."""
        return Request(
            self.method,
            self.path,
            self.query,
            self.headers,
            body,
            received,
            is_secure,
            arrived,
            client,
        )


_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,18})\r\n")
_KEY = re.compile(rb"\r\n[Ii]dempotency-[Kk]ey: ([0-9A-Za-z-]++)\r\n")


def read_head(head: bytes, parse: Parser) -> RequestHead:
    """Check and parse a head.

    The heads of one client differ only in Content-Length and perhaps Idempotency-Key. So heads are
    cached with these values replaced by 0, and a cached head costs a quarter.

    Args:
        head: Bytes from the request line to the empty line.
        parse: The parser.

    Raises:
        RefusedError: The head is malformed, or the end of the body is ambiguous.
    """
    length = _LENGTH.search(head)
    if length is None:
        return _read(head, parse)
    usual = head[: length.start(1)] + b"0" + head[length.end(1) :]
    key = _KEY.search(usual)
    if key is not None:
        usual = usual[: key.start(1)] + b"0" + usual[key.end(1) :]
    same = _read_cached(usual, parse)
    headers = {**same.headers, "content-length": length[1].decode()}
    if key is not None:
        if headers["idempotency-key"] != "0":  # there are several
            return _read(head, parse)
        headers["idempotency-key"] = key[1].decode()
    return RequestHead(
        same.method,
        same.path,
        same.query,
        headers,
        # It is the only field with the length: a head with two was refused.
        Framing(int(length[1])),
        same.is_1_0,
        same.keep_alive,
        same.expects,
    )


def _read(head: bytes, parse: Parser) -> RequestHead:
    check_head(head)
    framing = read_framing(head)
    try:
        parsed = parse(head)
    except MalformedHeadError:
        raise RefusedError(400, "Malformed request header") from None
    headers = _headers(parsed)
    path, query = _path_and_query(parsed.target.decode("ascii"), headers)
    is_1_0 = parsed.version == "1.0"
    connection = headers.get("connection")
    return RequestHead(
        method=parsed.method.decode("ascii"),
        path=path,
        query=query,
        headers=headers,
        framing=framing,
        is_1_0=is_1_0,
        keep_alive=not is_1_0 if connection is None else _keep_alive(connection, is_1_0),
        expects="" if is_1_0 else headers.get("expect", "").lower(),
    )


PARSED_HEAD_FACTOR = 4
"""Bytes of a head with its parsed form, per byte of the head."""

_heads: BoundedCache[tuple[bytes, Parser], RequestHead] = BoundedCache(8 * 1024 * 1024)
"""Heads seen before: 2,000 of 1 KB. There are a few hundred kinds of browsers and players, and each
may send from several pages."""


def _read_cached(head: bytes, parse: Parser) -> RequestHead:
    key = (head, parse)
    found = _heads.get(key)
    if found is None:
        found = _read(head, parse)
        _heads.add(key, found, PARSED_HEAD_FACTOR * len(head))
    return found


def _headers(parsed: Head) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in parsed.fields:
        name = raw_name.decode("ascii").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        if name in headers:
            value = f"{headers[name]}, {value}"
        headers[name] = value
    # It describes the message on the wire; the body of a ``Request`` has no transfer coding.
    headers.pop("transfer-encoding", None)
    return headers


def _path_and_query(target: str, headers: dict[str, str]) -> tuple[str, str]:
    """Split a target; the host of an absolute form replaces the Host header (RFC 9112, 3.2.2)."""
    if target[0] not in "/*":
        host_and_path = target.partition("://")[2]
        host = host_and_path.partition("/")[0].partition("?")[0]
        headers["host"] = host
        target = host_and_path[len(host) :]
        if not target.startswith("/"):
            target = "/" + target
    path, _, query = target.partition("?")
    return path, query


def _keep_alive(connection: str, is_1_0: bool) -> bool:
    options = {option.strip(" \t") for option in connection.lower().split(",")}
    return "close" not in options and (not is_1_0 or "keep-alive" in options)

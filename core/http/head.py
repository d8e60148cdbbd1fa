"""From the bytes of a head to a request that still lacks its body."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from openqoe.core.http.framing import Framing, read_framing
from openqoe.core.http.grammar import check_head
from openqoe.core.http.messages import Request
from openqoe.core.http.parser import Head, MalformedHeadError, Parser
from openqoe.core.http.refusal import RefusedError


class RequestHead(NamedTuple):
    """A request before its body. The first four are those of ``Request``.

    Attributes:
        framing: How the body is delimited.
        is_1_0: Whether the client speaks HTTP/1.0.
        keep_alive: Whether the client wants the connection kept open.
        expects: The Expect header in lower case, "" if there is none or it does not count.
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
        self, body: bytes, received: int, arrived: int, *, is_secure: bool = False
    ) -> Request:
        """The complete request."""
        return Request(
            self.method, self.path, self.query, self.headers, body, received, is_secure, arrived
        )


def read_head(head: bytes, parse: Parser) -> RequestHead:
    """Judge a head and take it apart.

    Args:
        head: From the request line to the empty line.
        parse: The parser.

    Raises:
        RefusedError: It is malformed, or it is doubtful where its body ends.
    """
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


def _headers(parsed: Head) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in parsed.fields:
        name = raw_name.decode("ascii").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        if name in headers:
            value = f"{headers[name]}, {value}"
        headers[name] = value
    # It describes the message on the wire, from which the coding is taken off.
    headers.pop("transfer-encoding", None)
    return headers


def _path_and_query(target: str, headers: dict[str, str]) -> tuple[str, str]:
    """Split a target. One in absolute form says the host too, and its word counts."""
    if target[0] not in "/*":
        host_and_path = target.partition("://")[2]
        host = host_and_path.partition("/")[0].partition("?")[0]
        headers["host"] = host
        target = host_and_path[len(host) :]
        if not target.startswith("/"):
            target = "/" + target
    path, _, query = target.partition("?")
    return path, query


@lru_cache(maxsize=64)
def _keep_alive(connection: str, is_1_0: bool) -> bool:
    options = {option.strip(" \t") for option in connection.lower().split(",")}
    return "close" not in options and (not is_1_0 or "keep-alive" in options)

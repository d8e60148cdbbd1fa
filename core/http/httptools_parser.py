"""Heads by httptools, the fast way.

An ``HttpRequestParser`` serves one head and is thrown away. To keep it for the next
request it would have to be fed the body too, which there is no need to copy through it;
making one costs 0.6 µs of the 5 µs that it takes to parse a head.
"""

import httptools

from .parser import Head, MalformedHeadError


class _Fields:
    """Collects what llhttp calls out."""

    __slots__ = ("complete", "fields", "target")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(head: bytes) -> Head:
    """Take a head apart.

    Raises:
        MalformedHeadError: httptools does not accept it.
    """
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        # It has read the head and would hand the connection over to another protocol. We
        # speak no other, so this is a request like any other.
        pass
    except httptools.HttpParserError as error:
        # Behind the last field llhttp makes up its mind about the body, of which we have
        # a mind of our own (see ``framing``).
        if not fields.complete:
            raise MalformedHeadError(str(error)) from error
    if not fields.complete:
        raise MalformedHeadError("incomplete")
    return Head(parser.get_method(), fields.target, parser.get_http_version(), fields.fields)

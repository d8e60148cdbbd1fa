"""Parser of heads with httptools, the fast one.

Each head uses a new ``HttpRequestParser``, because a reused one would also need the body. Creating
it costs 0.6 µs of the 5 µs for a head.
"""

import httptools

from .parser import Head, MalformedHeadError


class _Fields:
    """Collects the callbacks of llhttp."""

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
    """Parse a head.

    Raises:
        MalformedHeadError: httptools rejects the head.
    """
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # the head is read; no other protocol is supported, so the request is an ordinary one
    except httptools.HttpParserError as error:
        # After the last field llhttp checks the framing of the body, which ``framing`` does here.
        if not fields.complete:
            raise MalformedHeadError(str(error)) from error
    if not fields.complete:
        raise MalformedHeadError("incomplete")
    return Head(parser.get_method(), fields.target, parser.get_http_version(), fields.fields)

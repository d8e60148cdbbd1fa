"""A minimal HTTP client for the tests of the doubles, from the standard library only."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit


class TextResponse(NamedTuple):
    """Status, body as text, headers with names in lower case."""

    status: int
    text: str
    headers: Mapping[str, str]


def send(
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    timeout: float = 5.0,
) -> TextResponse:
    """Send one request on a new connection."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(method, parts.path, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
        return TextResponse(
            response.status, text, {name.lower(): value for name, value in response.getheaders()}
        )
    finally:
        connection.close()

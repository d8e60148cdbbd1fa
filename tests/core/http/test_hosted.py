"""Requests from a host's HTTP server."""

import pytest

from openqoe.core.http import RefusedError
from openqoe.core.http.hosted import BodyCollector, join_headers


def test_join_headers_lowers_names_and_joins_values() -> None:
    fields = [("Accept", "a"), ("X-Key", "k"), ("ACCEPT", "b")]
    assert join_headers(fields) == {"accept": "a, b", "x-key": "k"}


def test_body_shorter_than_announced_is_refused() -> None:
    body = BodyCollector(100, 5)
    body.add(b"four")
    with pytest.raises(RefusedError, match="incomplete"):
        body.body()
    body.add(b"!")
    assert body.body() == b"four!"
    assert BodyCollector(100).body() == b""

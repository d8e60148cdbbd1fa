"""Requests that somebody else's server has read."""

import pytest

from openqoe.core.http import RefusedError
from openqoe.core.http.hosted import BodyCollector, join_headers


def test_names_are_in_lower_case_and_repeated_headers_joined() -> None:
    fields = [("Accept", "a"), ("X-Key", "k"), ("ACCEPT", "b")]
    assert join_headers(fields) == {"accept": "a, b", "x-key": "k"}


def test_a_body_shorter_than_announced_is_incomplete() -> None:
    body = BodyCollector(100, 5)
    body.add(b"four")
    with pytest.raises(RefusedError, match="incomplete"):
        body.body()
    body.add(b"!")
    assert body.body() == b"four!"
    assert BodyCollector(100).body() == b""

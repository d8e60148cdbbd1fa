"""Texts of answers: bounded, printable, without credentials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.config.destinations import ServerSettings, self_hosted_destinations
from openqoe.core.delivery.error_text import MAX_LENGTH, find_secrets, redacted_text
from openqoe.core.effects import HttpResult, NetworkFailure


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (HttpResult(500, body=b"out of disk"), "out of disk"),
        (HttpResult(500), ""),
        (HttpResult(500, body=b"  one\r\ntwo\n"), r"one\r\ntwo"),
        (HttpResult(500, body=b"\x1b[31mred\x00"), r"\x1b[31mred\x00"),
        (HttpResult(500, body="a\u2028b\u202ec".encode()), r"a\u2028b\u202ec"),
        (HttpResult(500, body="zu groß".encode()), "zu groß"),
        (HttpResult(500, body=b"\xff\xfe"), "��"),
        (HttpResult(500, body=b"x" * 9_999), "x" * (MAX_LENGTH - 1) + "…"),
        (HttpResult(301, {"location": "https://a/b?token=t"}, b"Moved"), "Location: https://a/b"),
        (HttpResult(301, {}, b"Moved"), "Location: (none)"),
        (NetworkFailure("timed out\nafter 10 s"), r"timed out\nafter 10 s"),
    ],
)
def test_answer_is_one_line(result: HttpResult | NetworkFailure, line: str) -> None:
    assert redacted_text(result) == line


def test_credentials_are_redacted() -> None:
    access = ServerSettings("http://loki/push", "user", "s3cret:pass")
    nothing = ServerSettings()
    _, loki, _ = self_hosted_destinations(
        mimir=nothing, prometheus=nothing, loki=access, tenant="shop", headers={}
    )
    assert loki is not None
    header = loki.headers[0][1]
    for echo in (header, header.removeprefix("Basic "), "user:s3cret:pass", "pw s3cret:pass"):
        for place in (echo, "x" * 490 + echo):
            line = redacted_text(HttpResult(401, body=place.encode()), find_secrets(loki.headers))
            assert "s3cret" not in line
            assert header[10:16] not in line
    line = redacted_text(HttpResult(401, body=b"no such tenant: shop"), find_secrets(loki.headers))
    assert line == "no such tenant: shop"


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("Bearer abcdef", ("Bearer abcdef", "abcdef")),
        ("Basic ???", ("Basic ???",)),
        ("Basic YTpi", ("Basic YTpi", "YTpi")),  # a:b is too short to be redacted
        ("", ()),
    ],
)
def test_secrets_are_found_in_header(value: str, secrets: tuple[str, ...]) -> None:
    assert find_secrets([("Authorization", value), ("X-Scope-OrgID", "tenant")]) == secrets


@given(body=st.binary(max_size=2_000))
def test_any_body_gives_one_bounded_printable_line(body: bytes) -> None:
    line = redacted_text(HttpResult(500, body=body))
    assert len(line) <= MAX_LENGTH
    assert line.isprintable()

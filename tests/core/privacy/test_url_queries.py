r"""Queries, fragments and credentials of URLs: what is removed, and what stays."""

import json
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openqoe.core.privacy.url_queries import MAX_STRINGS, strip_url_queries
from tests.support.captures import NAMES, load


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://cdn.example/a.mpd?token=secret&b=1", "https://cdn.example/a.mpd"),
        ("https://cdn.example/a.mpd?secret", "https://cdn.example/a.mpd"),
        ("https://cdn.example?secret", "https://cdn.example"),
        ("https://a.example/#access_token=secret", "https://a.example/"),
        ("wss://a.example/live?secret", "wss://a.example/live"),
        ("https://user:secret@a.example/x", "https://a.example/x"),
        ("https://user:sec@ret@a.example/x", "https://a.example/x"),
        ("GET https://a.example/b?t=secret failed: 403", "GET https://a.example/b failed: 403"),
        ("(https://a.example/b?t=(secret))", "(https://a.example/b"),
        ("<https://a.example/b?t=secret>", "<https://a.example/b>"),
        ("https://a/?t=secret https://b/?t=secret", "https://a/ https://b/"),
        ("/segment.m4s?token=secret", "/segment.m4s"),
        ("../segment.m4s?a[0]=secret", "../segment.m4s"),
        ("//a.example/b?token=secret", "//a.example/b"),
        ("?token=secret", ""),
        ("#access_token=secret", ""),
        ("https://p.example/?u=https%3A%2F%2Fa%3Ft%3Dsecret", "https://p.example/"),
        ("/proxy/https%3A%2F%2Fa%3Ftoken%3Dsecret", "/proxy/https%3A%2F%2Fa"),
        ('{"url": "https://a/b?t=secret", "n": 1}', '{"url": "https://a/b", "n": 1}'),
        ("https://a.example/ü?t=secret", "https://a.example/ü"),
    ],
)
@pytest.mark.parametrize("escape", ["", "/", "all"])
def test_secrets_of_urls_are_removed(text: str, expected: str, escape: str) -> None:
    encoded = json.dumps({"m": text, "after": 1}, ensure_ascii=False)
    if escape == "/":
        encoded = encoded.replace("/", "\\/")
    elif escape == "all":
        for character in "/?#=&@":
            encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    stripped = strip_url_queries(encoded.encode())
    assert json.loads(stripped) == {"m": expected, "after": 1}


@pytest.mark.parametrize(
    "text",
    [
        *("what? no", "a?b", "100 % sure?", "issue #5", "me@example.org", "a = b", "C#"),
        *("https://a.example/b/c.mpd", "blob:https://a.example/1-2", "https://a.example/p@q"),
        *("", "?", "#", "://", "really? x=1"),
    ],
)
def test_other_texts_stay(text: str) -> None:
    body = json.dumps({"m": text}).encode()
    assert strip_url_queries(body) == body


@pytest.mark.parametrize("name", ["id", "view_id", "video_id", "viewer_id"])
@pytest.mark.parametrize("blank", ["", " ", "\n  "])
def test_identifiers_stay(name: str, blank: str) -> None:
    member = f'"{name}"{blank}:{blank}"https://a/w?v=1"'.encode()
    body = b'{%b,"title":"https://a/w?v=1"}' % member
    assert strip_url_queries(body) == b'{%b,"title":"https://a/w"}' % member


def test_names_that_only_end_like_an_identifier_are_none() -> None:
    assert strip_url_queries(b'{"grid":"/a?b=1","uuid":"/a?b=1"}') == b'{"grid":"/a","uuid":"/a"}'


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("?#=:/@\\\"a% &u0\u20ac", max_size=30),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["id", "x", "?a=b", "a\""]), inner, max_size=4),
))  # fmt: skip
@example({"x": 'https://a?"\\', "y": "?a=\\u003f"})
def test_result_is_json_of_the_same_shape(document: object) -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return [shape(one) for one in value.values()]
        if isinstance(value, list):
            return [shape(one) for one in value]
        return "text" if isinstance(value, str) else value

    for ascii_only in (True, False):
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        stripped = strip_url_queries(body)
        # Names of members may be shortened to the same name, so shapes of lists only.
        if "?a=b" not in json.dumps(document):
            assert shape(json.loads(stripped)) == shape(document)
        assert strip_url_queries(stripped) == stripped


@pytest.mark.parametrize(
    "unit",
    [
        *('"?', '"?id":"', "://", "?a", "?", "a@", "://@", "%3F", "%3f?", "?%3F%41"),
        *('\\"?a=', "#a=\\u0040"),
    ],
)
def test_cost_is_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        body = b'{"m":"' + unit.encode() * (size // len(unit))
        began = process_time()
        strip_url_queries(body)
        return process_time() - began

    small = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * small + 0.2
    assert seconds(200_000) < 2, "20 MiB, the largest body, must not block a worker for minutes"


def test_many_strings_are_stripped_to_the_last() -> None:
    body = b"[" + b'"/a?b=1",' * (2 * MAX_STRINGS) + b"0]"
    assert b"?" not in strip_url_queries(body)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_bodies_stay(name: str) -> None:
    for request in load(name).requests:
        assert strip_url_queries(request.body) == request.body

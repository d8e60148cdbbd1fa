r"""Queries, fragments and credentials of URLs: what is removed, and what stays."""

import json
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openqoe.core.privacy.url_queries import (
    MAX_STRINGS,
    strip_cmcd_queries,
    strip_url_queries,
)
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
        ("HTTPS://A.EXAMPLE/b?secret", "HTTPS://A.EXAMPLE/b"),
        ("//a.example/b?secret", "//a.example/b"),
        ("//user:secret@a.example/b@c", "//a.example/b@c"),
        ("/segment.m4s?secret", "/segment.m4s"),
        ("/app/#/watch/secret", "/app/"),
        ("cdn.example/b?a&t=secret", "cdn.example/b"),
        ("/b?$a:b=secret", "/b"),
        ("part.m4s?a&t=secret", "part.m4s"),
        ("?secret", ""),
        ("https://a.example/b?t={secret}|`secret`", "https://a.example/b"),
        ("https://a.example/b?t=ü-secret", "https://a.example/b"),
        (
            "https://a.example/proxy/https%3A%2F%2Fb%3Fsecret",
            "https://a.example/proxy/https%3A%2F%2Fb",
        ),
        ("https%253A%252F%252Fb%252Fc%253Fsecret", "https%253A%252F%252Fb%252Fc"),
        ("https%3A%2F%2Fuser%3Asecret%40b%2Fc", "https%3A%2F%2Fb%2Fc"),
        ("https://a.example/b%23access_token=secret", "https://a.example/b"),
        ("net/https://user:secret@a.example/b", "net/https://a.example/b"),
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
        *("", "?", "#", "://", "really? x=1", "/a%23b.mp4", "and/or?", "\\u003f", "C:\\u0020"),
    ],
)
def test_other_texts_stay(text: str) -> None:
    body = json.dumps({"m": text}).encode()
    assert strip_url_queries(body) == body


@pytest.mark.parametrize("character", ["/", "?", "&", "="])
@pytest.mark.parametrize("depth", [1, 2])
def test_secrets_in_json_in_json_are_removed(character: str, depth: int) -> None:
    """PHP escapes slashes, Go and Gson ``&`` and ``=``, wherever JSON is a text in JSON."""

    def nested(url: str) -> str:
        text = json.dumps({"url": url, "n": 1})
        escape = "\\/" if character == "/" else f"\\u{ord(character):04x}"
        text = text.replace(character, escape)
        for _ in range(depth):
            text = json.dumps({"m": text, "n": 2})
        return text

    stripped = strip_url_queries(nested("https://a/b?x=1&t=secret").encode())
    expected: object = json.loads(nested("https://a/b"))
    found: object = json.loads(stripped)
    for _ in range(depth):
        assert isinstance(expected, dict) and isinstance(found, dict)
        found, expected = json.loads(found["m"]), json.loads(expected["m"])
    assert found == expected


@pytest.mark.parametrize("name", ["id", "view_id", "video_id", "viewer_id"])
@pytest.mark.parametrize("blank", ["", " ", "\n  "])
def test_identifiers_stay(name: str, blank: str) -> None:
    member = f'"{name}"{blank}:{blank}"https://a/w?v=1"'.encode()
    body = b'{%b,"title":"https://a/w?v=1"}' % member
    assert strip_url_queries(body) == b'{%b,"title":"https://a/w"}' % member


def test_names_that_only_end_like_an_identifier_are_none() -> None:
    assert strip_url_queries(b'{"grid":"/a?b=1","uuid":"/a?b=1"}') == b'{"grid":"/a","uuid":"/a"}'


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("?#=:/@\\\"a% &u0\u20ac", max_size=30)
    | st.lists(st.sampled_from(
        ["\\", "/", "?", "@", '"', "u003f", "u0022", "u0026", "=", "a", "%", "25", "3F", " "],
    ), max_size=10).map("".join),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["id", "x", "?a=b", "a\""]), inner, max_size=4),
))  # fmt: skip
@example({"x": 'https://a?"\\', "y": "?a=\\u003f"})
@example({"x": "\\u003fa=b"})
@example({"x": "//@/@"})
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
        *('\\"?a=', "#a=\\u0040", "/", "//", "\\\\/", "/\\\\", "%2F", "//a@", "%23a", "/%25"),
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


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ('url="https://u:secret@a/b?secret",e=ps', 'url="https://a/b",e=ps'),
        ('url="https://a/b?t=\\"secret",e=ps', 'url="https://a/b",e=ps'),
        ('com.x-page="https://a/b?secret",bs=?1,bl=100', 'com.x-page="https://a/b",bs=?1,bl=100'),
        ('nor=("..%2Fa?secret";r="0-1" "b"),e=ps', "e=ps"),
        ('nor="..%2Fa%3Fsecret",e=ps', 'nor="..%2Fa",e=ps'),
        ('nor=("secret?', ""),
        ('cid="https://a/b?v=1",sid="/b?v=1"', 'cid="https://a/b?v=1",sid="/b?v=1"'),
        ('com.x-viewer_id="a/b?v=1",ec=("/a?secret")', 'com.x-viewer_id="a/b?v=1",ec=("/a")'),
    ],
)
def test_secrets_of_urls_in_cmcd_records_are_removed(record: str, expected: str) -> None:
    assert strip_cmcd_queries(record.encode()) == expected.encode()


@pytest.mark.parametrize("unit", ['nor=("', '"?', 'a="?', 'url="', "\\/"])
def test_cost_of_cmcd_records_is_linear(unit: str) -> None:
    began = process_time()
    strip_cmcd_queries(b"?" + unit.encode() * (200_000 // len(unit)))
    assert process_time() - began < 2


def test_many_cmcd_strings_are_stripped_to_the_last() -> None:
    assert b"secret" not in strip_cmcd_queries(b'"/a?secret",' * (2 * MAX_STRINGS))

"""The tokenizer of CMCD: RFC 8941 where a record follows it, tolerance where it does not."""

import time
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.events.cmcd_tokenizer import Item, parse_dictionary
from tests.support.cmcd_captures import NAMES, records


def parse(text: str) -> dict[str, Any]:
    members, skipped = parse_dictionary(text)
    assert not skipped
    return members


def oracle(text: str) -> dict[str, Any]:
    """Return what `http-sf` reads, without the parameters of members."""
    parsed: Any = http_sf.parse(text.encode(), tltype="dictionary")
    return {key: _plain(value[0]) for key, value in parsed.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(
            Item(_plain(item), {name: _plain(own) for name, own in parameters.items()})
            for item, parameters in value
        )
    if isinstance(value, http_sf.Token):
        return str(value)
    return value if isinstance(value, bool | int | str) else float(value)


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k", True),
        ("k=?1", True),
        ("k=?0", False),
        ("k=0", 0),
        ("k=1795449605267", 1795449605267),
        ("k=-5", -5),
        ("k=1.5", 1.5),
        ("k=-0.125", -0.125),
        ("k=p", "p"),
        ("k=a/b:c", "a/b:c"),
        ('k=""', ""),
        (r'k="a \"b\" \\ c"', r'a "b" \ c'),
        ('k="Ærø, 北京"', "Ærø, 北京"),
        ("k=()", ()),
        ("k=(8000)", (Item(8000, {}),)),
        ("k=(500;v 32;a)", (Item(500, {"v": True}), Item(32, {"a": True}))),
        ('k=("a" "b")', (Item("a", {}), Item("b", {}))),
        ('k=("a.mp4";r="0-99")', (Item("a.mp4", {"r": "0-99"}),)),
    ],
)
def test_member_has_value_of_its_form(text: str, value: object) -> None:
    assert parse(text) == {"k": value}


def test_blanks_around_members_are_ignored() -> None:
    # The examples of CTA-5004-B have them.
    assert parse(" pt=111000, sf=d ,\tst=v ") == {"pt": 111000, "sf": "d", "st": "v"}
    assert parse("lb=(500;v 32;a) ,ltc=3000")["ltc"] == 3000


def test_last_of_equal_keys_wins() -> None:
    assert parse("sn=1,sn=2") == {"sn": 2}


# Tolerance


@pytest.mark.parametrize(
    "broken",
    [
        *("=1", "a=", "a=(1", "a=(1))", 'a="x"y', "a=1;", "a=?2", "a=--1", "a=1.", "1a=2"),
        *("a=(1,2)", "a=(x y;)", 'a=("x"1)', ")", "a=b=c", "é=1", "a=" + "9" * 19, 'a=(";"'),
    ],
)
def test_broken_member_costs_no_other(broken: str) -> None:
    members, skipped = parse_dictionary(f'sid="s",{broken},e=ps,sta=p')
    assert skipped >= 1
    assert members["sid"] == "s"
    if "(" not in broken or ")" in broken:  # an open parenthesis takes what follows
        assert {key: members.get(key) for key in ("e", "sta")} == {"e": "ps", "sta": "p"}


def test_comma_inside_quotes_or_parentheses_of_broken_member_ends_nothing() -> None:
    assert parse_dictionary('a="x,e=t"y,e=ps') == ({"e": "ps"}, 1)
    assert parse_dictionary("a=(1,e=t)y,e=ps") == ({"e": "ps"}, 1)


def test_upper_case_key_and_trailing_comma_are_accepted() -> None:
    # A parser that follows RFC 8941 refuses the whole record for either.
    assert parse("SID=1,e=ps,") == {"SID": 1, "e": "ps"}


@pytest.mark.parametrize(
    "text", ["k=(" + "1 " * 65 + ")", "k=(1" + ";a" * 200 + ")", "a," * 300 + "k"]
)
def test_what_exceeds_a_limit_is_skipped(text: str) -> None:
    members, skipped = parse_dictionary(text)
    assert skipped == 1
    assert "k" not in members


# The oracle


@pytest.mark.parametrize("name", NAMES)
def test_recorded_records_read_as_by_oracle(name: str) -> None:
    assert records(name)
    for record in records(name):
        assert parse(record) == oracle(record)


KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True)
BARE = (
    st.integers(-(10**15) + 1, 10**15 - 1)
    | st.decimals(-999_999_999_999, 999_999_999_999, places=3)
    | st.booleans()
    | st.from_regex(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,8}", fullmatch=True).map(
        http_sf.Token
    )
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
)
ITEMS = st.tuples(BARE, st.dictionaries(KEYS, BARE, max_size=2))
MEMBERS = ITEMS | st.tuples(st.lists(ITEMS, max_size=3), st.dictionaries(KEYS, BARE, max_size=1))


@given(st.dictionaries(KEYS, MEMBERS, min_size=1, max_size=6))
def test_valid_dictionary_reads_as_by_oracle(members: dict[str, Any]) -> None:
    text = http_sf.ser(members)
    assert parse(text) == oracle(text)


@given(st.text(st.sampled_from('ab=,;()"\\ 19.?-é\t'), max_size=60))
def test_what_oracle_reads_is_read_alike(text: str) -> None:
    try:
        expected = oracle(text)
    except (http_sf.StructuredFieldError, UnicodeError):
        parse_dictionary(text)  # must not raise
        return
    # RFC 8941 strips blanks only.
    assert parse_dictionary(text.strip(" ")) == (expected, 0)


@given(st.text(max_size=200))
def test_any_text_is_read_without_error(text: str) -> None:
    parse_dictionary(text)


# Cost


@pytest.mark.parametrize(
    "filler",
    [
        *('a="', "(", ")", "a=(", 'a=("', 'a=("\\', ",", "a;", 'a;b="', '="', 'a=(x;y="', '"('),
        *("a=1;b=", "a=(1 ", "é", "a=b=", ";", "a=(1;", "a", " ", "a=( ", "a;a", "\\", "a=(a;a"),
    ],
)
def test_cost_is_linear_in_length(filler: str) -> None:
    def seconds(length: int) -> float:
        text = filler * (length // len(filler))
        best = 9e9
        for _ in range(3):
            began = time.process_time()
            parse_dictionary(text)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(160_000) < 16 * max(seconds(20_000), 0.000_5)

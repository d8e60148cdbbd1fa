"""Equal values are kept once, and no more of them than there may be."""

from openqoe.core.primitives.interning import Interner


def new(text: str) -> str:
    """A text that no other holds."""
    return "".join(text)[:1] + text[1:]


def test_equal_values_are_one() -> None:
    same = Interner(10)
    first = same.intern(new("hlsjs"))
    assert new("hlsjs") is not first
    assert same.intern(new("hlsjs")) is first
    assert same.intern(None) is None


def test_past_the_limit_it_begins_anew() -> None:
    same = Interner(2)
    first = same.intern(new("first"))
    same.intern("second")
    same.intern("third")
    again = new("first")
    assert same.intern(again) is again
    assert again is not first

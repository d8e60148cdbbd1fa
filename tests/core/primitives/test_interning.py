"""Interning of equal values, and the bound of the table."""

from openqoe.core.primitives.interning import Interner


def new_object(text: str) -> str:
    """Return a new string object, which nothing else references."""
    return "".join(text)[:1] + text[1:]


def test_equal_value_returns_the_first_object() -> None:
    interner = Interner(10)
    first = interner.intern(new_object("hlsjs"))
    assert new_object("hlsjs") is not first
    assert interner.intern(new_object("hlsjs")) is first
    assert interner.intern(None) is None


def test_full_table_is_cleared() -> None:
    interner = Interner(2)
    first = interner.intern(new_object("first"))
    interner.intern("second")
    interner.intern("third")
    again = new_object("first")
    assert interner.intern(again) is again
    assert again is not first

"""Interning of equal values, and the bound of the table."""

from openqoe.core.primitives.interning import Interner

MAX_BYTES = 40_000


def new_object(text: str) -> str:
    """Return a new string object, which nothing else references."""
    return "".join(text)[:1] + text[1:]


def test_equal_value_returns_the_first_object() -> None:
    interner = Interner(MAX_BYTES)
    first = interner.intern(new_object("hlsjs"))
    assert new_object("hlsjs") is not first
    assert interner.intern(new_object("hlsjs")) is first
    assert interner.intern(None) is None


def test_full_table_is_cleared() -> None:
    interner = Interner(MAX_BYTES)
    first = interner.intern(new_object("first"))
    for number in range(MAX_BYTES // 200):
        interner.intern(f"value {number}")
    again = new_object("first")
    assert interner.intern(again) is again
    assert again is not first

"""Packed lists and dictionaries: the bytes of the whole, in blocks."""

import msgspec
import pytest

from openqoe.core.primitives.msgpack_stream import BLOCK_BYTES, MsgpackDict, MsgpackList

ITEM = ("a view", 12, None, [1.5, 2])


def unpacked(packed: MsgpackList | MsgpackDict) -> object:
    return msgspec.msgpack.decode(b"".join(packed.drain_blocks()))


@pytest.mark.parametrize("count", [0, 1, 17, 70_000])
def test_a_list_is_what_was_added(count: int) -> None:
    packed = MsgpackList()
    for number in range(count):
        packed.add(number)
    assert len(packed) == count
    assert unpacked(packed) == list(range(count))


@pytest.mark.parametrize("few", range(16))
def test_a_few_at_once_are_as_one_after_the_other(few: int) -> None:
    one_by_one, at_once = MsgpackList(), MsgpackList()
    for _ in range(3_000):
        for _ in range(few):
            one_by_one.add(ITEM)
        at_once.extend([ITEM] * few)
    assert len(at_once) == 3_000 * few
    assert unpacked(at_once) == unpacked(one_by_one)


@pytest.mark.parametrize("count", [0, 1, 17, 70_000])
def test_a_dictionary_is_what_was_added(count: int) -> None:
    packed = MsgpackDict()
    for number in range(count):
        packed.add(str(number), number)
    assert len(packed) == count
    assert unpacked(packed) == {str(number): number for number in range(count)}


def test_no_block_grows_with_the_list() -> None:
    packed = MsgpackList()
    for _ in range(50_000):
        packed.add(ITEM)
    sizes = [len(block) for block in packed.drain_blocks()]
    assert sum(sizes) > 10 * BLOCK_BYTES
    assert max(sizes) <= BLOCK_BYTES + 100


def test_blocks_go_as_they_are_taken() -> None:
    packed = MsgpackList()
    packed.add(ITEM)
    assert len(list(packed.drain_blocks())) == 2
    assert b"".join(packed.drain_blocks())[5:] == b""

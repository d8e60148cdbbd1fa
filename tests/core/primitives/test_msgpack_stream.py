"""Streams of msgpack: content, counts and blocks."""

import msgspec
import pytest

from openqoe.core.primitives.msgpack_stream import BLOCK_BYTES, MsgpackDict, MsgpackList

ITEM = ("a view", 12, None, [1.5, 2])


def decode(stream: MsgpackList | MsgpackDict) -> object:
    return msgspec.msgpack.decode(b"".join(stream.drain_blocks()))


@pytest.mark.parametrize("count", [0, 1, 17, 70_000])
def test_list_decodes_to_the_added_items(count: int) -> None:
    stream = MsgpackList()
    for number in range(count):
        stream.add(number)
    assert len(stream) == count
    assert decode(stream) == list(range(count))


@pytest.mark.parametrize("few", range(16))
def test_extend_equals_repeated_add(few: int) -> None:
    one_by_one, at_once = MsgpackList(), MsgpackList()
    for _ in range(3_000):
        for _ in range(few):
            one_by_one.add(ITEM)
        at_once.extend([ITEM] * few)
    assert len(at_once) == 3_000 * few
    assert decode(at_once) == decode(one_by_one)


@pytest.mark.parametrize("count", [0, 1, 17, 70_000])
def test_dictionary_decodes_to_the_added_items(count: int) -> None:
    stream = MsgpackDict()
    for number in range(count):
        stream.add(str(number), number)
    assert len(stream) == count
    assert decode(stream) == {str(number): number for number in range(count)}


def test_block_size_is_bounded_for_a_long_list() -> None:
    stream = MsgpackList()
    for _ in range(50_000):
        stream.add(ITEM)
    sizes = [len(block) for block in stream.drain_blocks()]
    assert sum(sizes) > 10 * BLOCK_BYTES
    assert max(sizes) <= BLOCK_BYTES + 100


def test_drained_stream_is_empty() -> None:
    stream = MsgpackList()
    stream.add(ITEM)
    assert len(list(stream.drain_blocks())) == 2
    assert b"".join(stream.drain_blocks())[5:] == b""

"""The two pieces of protobuf's encoding that joining ready-made parts takes.

A message is the concatenation of its fields, so parts that protobuf has encoded once can be
put together again and again without it.
"""


def varint(number: int) -> bytes:
    """A non-negative number in base 128, lowest group first."""
    if number < 0x80:
        return bytes((number,))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field (string, bytes, message)."""
    return varint(number << 3 | 2) + varint(len(content)) + content

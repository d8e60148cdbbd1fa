"""Stable hashes of label values: the same in every process, on every machine, in every
version. Changing one renames series in the field."""

from hashlib import blake2s


def hash32(value: str) -> int:
    """A 32-bit hash; any string will do, lone surrogates too."""
    digest = blake2s(value.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def hash_label(value: str) -> str:
    """The hash as a label value: eight hexadecimal digits."""
    return f"{hash32(value):08x}"

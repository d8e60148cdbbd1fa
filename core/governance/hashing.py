"""Hashes of label values, stable over processes, machines and versions.

A change would rename series in production.
"""

from hashlib import blake2s


def hash32(value: str) -> int:
    """Return the 32-bit hash of any string, including lone surrogates."""
    digest = blake2s(value.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def hash_label(value: str) -> str:
    """Return the hash as a label: eight hexadecimal digits."""
    return f"{hash32(value):08x}"

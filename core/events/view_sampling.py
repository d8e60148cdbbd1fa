"""Sampling of whole views: the same views in every worker, and in every batch of a view."""

from hashlib import blake2b


def is_view_kept(view_id: str, fraction: float) -> bool:
    """Whether a view is among a fraction of all views, by a hash of its id."""
    if fraction >= 1:
        return True
    digest = blake2b(view_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64

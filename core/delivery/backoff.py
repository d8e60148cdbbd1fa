"""Exponential backoff between delivery attempts.

The step doubles from 1 s to 60 s. The wait is 50 to 100 % of the step, so that workers do not
return to a destination all at once. The core has no random numbers: the jitter is a hash of the
worker's seed, the destination and a counter, evenly distributed and the same in every replay.
"""

from hashlib import blake2s

FIRST_STEP = 1_000
MAX_STEP = 60_000


def backoff(failures: int, *, seed: int, destination: str, counter: int) -> int:
    """The wait in ms after a number of consecutive failures.

    Args:
        failures: Consecutive failures, the latest included (1, 2, ...).
        seed: Differs between workers.
        destination: The destination's name.
        counter: Differs between the waits of one destination.
    """
    # The shift is bounded: the failure count of a long outage would give huge numbers.
    step = min(FIRST_STEP << min(failures - 1, 16), MAX_STEP)
    digest = blake2s(f"{seed}/{destination}/{counter}".encode(), digest_size=8).digest()
    return step - (step * int.from_bytes(digest) >> 65)

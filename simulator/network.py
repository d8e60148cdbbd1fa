"""Throughput of a viewer's network: a log-normal base by country and device, noise that lasts some
seconds, and an occasional tunnel."""

import math
from random import Random
from typing import Final

MEMORY: Final = 8_000.0
"""ms over which the noise is correlated."""

NOISE: Final = 0.35
"""Standard deviation of the noise's logarithm."""

TUNNELS_PER_HOUR: Final = {"mobile": 8.0, "tablet": 2.0}
TUNNEL_FACTOR: Final = 0.02


class Network:
    """One viewer's network.

    Attributes:
        rtt: Round trip, ms.
    """

    __slots__ = ("_at", "_base", "_noise", "_rng", "_tunnel_until", "_tunnels", "rtt")

    def __init__(self, rng: Random, bps: float, spread: float, rtt: float, category: str) -> None:
        self._rng = rng
        self._base = bps * math.exp(rng.gauss(0.0, spread))
        self.rtt = rtt * math.exp(rng.gauss(0.0, 0.4))
        self._noise = rng.gauss(0.0, NOISE)
        self._tunnels = TUNNELS_PER_HOUR.get(category, 0.3) / 3_600_000
        self._tunnel_until = 0.0
        self._at = 0.0

    def throughput(self, at: float) -> float:
        """Throughput in bit/s at a time; times must ascend."""
        rng = self._rng
        passed = min(max(at - self._at, 0.0), 60_000.0)
        self._at = at
        keep = math.exp(-passed / MEMORY)
        self._noise = self._noise * keep + rng.gauss(0.0, NOISE * math.sqrt(1 - keep * keep))
        if at >= self._tunnel_until and rng.random() < self._tunnels * passed:
            self._tunnel_until = at + rng.uniform(8_000, 30_000)
        factor = TUNNEL_FACTOR if at < self._tunnel_until else 1.0
        return max(30_000.0, self._base * math.exp(self._noise) * factor)

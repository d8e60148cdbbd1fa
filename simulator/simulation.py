"""The batches of all viewers in order of time."""

import heapq
from collections.abc import Generator, Iterator
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Final

from .batching import Batch, Outbox
from .cmcd_player import CmcdPlayer
from .first_generation import FirstGeneration
from .incidents import Circumstances, Incident
from .network import Network
from .sdk_adapter import Adapter, Identity, uuid
from .second_generation import SecondGeneration
from .simulated_playback import Playback, Signal
from .world import NO_SDK, SMALL, Site, Video, World

RAMP: Final = 15_000.0
"""ms within which the first viewers arrive, most of them early, so that numbers show soon."""

GAP: Final = 6_000.0
"""Mean time in ms until a new viewer arrives after one has left."""

MAX_VIDEOS: Final = 4
"""Most videos that are watched on one page."""

ADAPTERS: Final[dict[int, type[Adapter]]] = {
    NO_SDK: CmcdPlayer,
    1: FirstGeneration,
    2: SecondGeneration,
}
"""What reports, by SDK generation."""


class Simulation:
    """An endless simulation.

    Args:
        viewers: Approximate number of viewers at once whose players have an SDK.
        seed: Two simulations with the same arguments are equal, byte by byte. With another start
            the same happens with other ids, because a worker may know the earlier ones.
        start: When it begins, ms since the epoch.
        incidents: Faults of the simulated world.
        world: Its sites and the countries of its viewers.
        cmcd_viewers: Further viewers, whose players report by CMCD.
    """

    def __init__(
        self,
        viewers: int,
        seed: int,
        start: int,
        incidents: tuple[Incident, ...] = (),
        world: World = SMALL,
        cmcd_viewers: int = 0,
    ) -> None:
        self.viewers = viewers
        self.seed = seed
        self.start = start
        self.world = world
        self.cmcd_viewers = cmcd_viewers
        self.circumstances = Circumstances(start, incidents)

    def batches(self) -> Iterator[Batch]:
        """Generate all batches in order of time, without end."""
        lanes = [self._lane(viewer) for viewer in range(self.viewers + self.cmcd_viewers)]
        queue: list[tuple[float, int, bool, Batch]] = []
        for viewer, lane in enumerate(lanes):
            batch = next(lane)
            heapq.heappush(queue, (batch.at, viewer, False, batch))
        while queue:
            _, viewer, is_copy, batch = heapq.heappop(queue)
            yield batch
            if is_copy:
                continue
            if batch.copy_at is not None:
                copy = replace(batch, at=batch.copy_at, copy_at=None, is_copy=True)
                heapq.heappush(queue, (copy.at, viewer, True, copy))
            following = next(lanes[viewer])
            heapq.heappush(queue, (following.at, viewer, False, following))

    def _lane(self, viewer: int) -> Iterator[Batch]:
        """Visits of viewers one after another, each with its own page."""
        has_sdk = viewer < self.viewers
        sites = self.world.sites if has_sdk else self.world.cmcd_sites
        rng = Random(f"{self.seed}/{viewer}")
        ids = Random(f"{self.seed}/{viewer}/{self.start}")
        at = self.start + RAMP * rng.random() ** 2
        while True:
            at = yield from self._visit(viewer, sites, rng, ids, at)
            at += rng.expovariate(1 / GAP) + 200.0

    def _visit(
        self, viewer: int, sites: tuple[Site, ...], rng: Random, ids: Random, at: float
    ) -> Generator[Batch, None, float]:
        """A viewer opens a page, watches videos and leaves; returns the time of leaving."""
        identity, circumstances = self._draw_identity(sites, rng, ids), self.circumstances
        site, device = identity.site, identity.device
        country = self.world.countries[identity.country]
        network = Network(
            rng, country.bps * device.speed, country.spread, country.rtt, device.category
        )
        outbox = Outbox(viewer, identity, rng)
        is_newest = len(site.versions) > 1 and identity.version == site.versions[-1][0]
        navigation = float(round(at))
        at = navigation + round(rng.uniform(80, 350) + network.rtt)
        watched: set[str] = set()
        while True:
            video = _choose(site, watched, rng)
            watched.add(video.id)
            playback = Playback(
                *(
                    site,
                    video,
                    device,
                    country,
                    is_newest,
                    network,
                    circumstances,
                    rng,
                    at,
                    navigation,
                )
            )
            adapter = ADAPTERS[site.generation](playback, identity.context(video), rng)
            labels = identity.labels(video)
            has_ended = False
            for signal, signalled_at in playback.run():
                at = signalled_at
                has_ended = has_ended or signal is Signal.ENDED
                if signal is not Signal.CLOSED:
                    yield from outbox.add(labels, adapter.events_of(signal, at), at)
            goes_on = has_ended and len(watched) < min(MAX_VIDEOS, len(site.videos))
            if not goes_on or rng.random() < 0.4:
                yield from outbox.add(labels, adapter.events_of(Signal.CLOSED, at), at)
                yield from outbox.flush_due(at)
                yield from outbox.close(at)
                return max(at, outbox.sent_at)
            at += round(rng.uniform(300, 2_500))

    def _draw_identity(self, sites: tuple[Site, ...], rng: Random, ids: Random) -> Identity:
        site = rng.choices(sites, [one.weight for one in sites])[0]
        device = rng.choices([d for d, _ in site.devices], [w for _, w in site.devices])[0]
        country = rng.choices([c for c, _ in site.countries], [w for _, w in site.countries])[0]
        version = rng.choices([v for v, _ in site.versions], [w for _, w in site.versions])[0]
        viewer_id = sha256(f"{uuid(ids)}{site.org}".encode()).hexdigest()
        return Identity(site, device, version, country, uuid(ids), uuid(ids), viewer_id)


def _choose(site: Site, watched: set[str], rng: Random) -> Video:
    """Draw the next video: the first videos of a site are watched most."""
    left = [video for video in site.videos if video.id not in watched]
    return rng.choices(left, [1 / (n + 1) for n in range(len(left))])[0]

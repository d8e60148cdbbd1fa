"""The simulated world: sites, videos, devices, countries, CDNs, faults.

All names are invented. The default world is small: each combination of labels gives about a hundred
series, and a laptop must be able to store them all. ``LARGE`` has the viewers of a worldwide
audience, for tests of limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Rendition:
    """One step of a bit rate ladder.

    Attributes:
        bps: Average bandwidth in bit/s.
        width, height: Pixels.
        fps: Frames per second.
    """

    bps: int
    width: int
    height: int
    fps: int = 25


LADDER: Final = (
    Rendition(317_790, 426, 240),
    Rendition(720_400, 640, 360),
    Rendition(1_385_600, 854, 480),
    Rendition(2_740_900, 1280, 720),
    Rendition(5_210_300, 1920, 1080),
    Rendition(14_380_000, 3840, 2160, 50),
)

PROGRESSIVE: Final = (Rendition(1_900_000, 1280, 720),)
"""A plain file has one rendition."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video or a live channel.

    Attributes:
        id, title: Its id and title on the page.
        seconds: Its duration; 0: live.
        series: The series that it belongs to, if any.
    """

    id: str
    title: str
    seconds: int = 0
    series: str | None = None

    @property
    def is_live(self) -> bool:
        return self.seconds == 0


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a viewer.

    Attributes:
        category, os, browser, version: As the SDK reports them.
        height: Pixels of its screen; no higher rendition is played.
        speed: Factor of its country's throughput.
        weakness: Frames dropped per minute of 1080p.
        faults: Share of views in which its decoder fails.
    """

    category: str
    os: str
    browser: str
    version: str
    height: int
    speed: float = 1.0
    weakness: float = 2.0
    faults: float = 0.002


DESKTOP: Final = Device("desktop", "Windows", "Chrome", "141", 1080)
MAC: Final = Device("desktop", "macOS", "Safari", "18", 1440, faults=0.004)
FIREFOX: Final = Device("desktop", "Linux", "Firefox", "143", 1080, weakness=6.0)
PHONE: Final = Device("mobile", "Android", "Chrome", "141", 1080, 0.55, 5.0)
IPHONE: Final = Device("mobile", "macOS", "Safari", "18", 1080, 0.7)  # the SDK reports iOS as macOS
TABLET: Final = Device("tablet", "Android", "Chrome", "138", 1080, 0.8, 4.0)
TV: Final = Device("tv", "Unknown", "Chrome", "94", 2160, 1.4, 14.0, 0.03)


@dataclass(frozen=True, slots=True)
class Country:
    """A country of viewers.

    Attributes:
        code: ISO 3166-1 alpha-2.
        bps: Median throughput of a viewer's network.
        spread: Standard deviation of its logarithm.
        rtt: Round trip to the nearest edge, ms.
        cdn: The CDN that serves it.
        blocked: Share of views that are blocked by rights.
    """

    code: str
    bps: float
    spread: float
    rtt: float
    cdn: str
    blocked: float = 0.0


COUNTRIES: Final = {
    country.code: country
    for country in (
        Country("DE", 24e6, 0.7, 18, "borealis"),
        Country("AT", 20e6, 0.7, 24, "borealis"),
        Country("NL", 40e6, 0.6, 12, "borealis"),
        Country("FR", 28e6, 0.7, 20, "meridian"),
        Country("GB", 22e6, 0.7, 16, "meridian"),
        Country("US", 32e6, 0.8, 25, "meridian"),
        Country("CA", 26e6, 0.8, 30, "meridian", blocked=0.04),
        Country("BR", 9e6, 0.9, 60, "austral"),
        Country("IN", 6e6, 0.9, 75, "austral"),
        Country("ZA", 5e6, 0.9, 90, "austral"),
    )
}


NO_SDK: Final = 0
"""In place of an SDK generation: the player reports by CMCD."""


@dataclass(frozen=True, slots=True)
class Site:
    """A page or app with one player.

    Attributes:
        org, player_id: Its labels.
        app: Name of the app.
        versions: Releases in use with their weights; the last is the newest.
        generation: The SDK generation; ``NO_SDK`` for none.
        player, player_version: The player; html5 and video.js report no version.
        videos: Its videos, most popular first.
        devices, countries: Those of its viewers, with weights.
        autoplay: Whether playback starts by itself.
        weight: Share of the viewers.
    """

    org: str
    player_id: str
    app: str
    versions: tuple[tuple[str, int], ...]
    generation: int
    player: str
    player_version: str | None
    videos: tuple[Video, ...]
    devices: tuple[tuple[Device, int], ...]
    countries: tuple[tuple[str, int], ...]
    autoplay: bool
    weight: int


SITES: Final = (
    Site(
        *("nordlicht", "web-mediathek", "Mediathek"),
        (("5.3.0", 1), ("5.4.0", 4)),
        *(2, "hlsjs", "1.7.4"),
        (
            Video("nl-1001", "Fjordlicht, Folge 1", 240, "Fjordlicht"),
            Video("nl-1002", "Fjordlicht, Folge 2", 300, "Fjordlicht"),
            Video("nl-2001", "Die Brücke am Sund", 1500),
            Video("nl-3001", "Trailer: Eiswinter", 75),
        ),
        ((DESKTOP, 5), (PHONE, 3), (FIREFOX, 2)),
        (("DE", 7), ("AT", 2), ("NL", 2)),
        True,
        26,
    ),
    Site(
        *("nordlicht", "tv-live", "Nordlicht Live"),
        (("3.1.4", 1),),
        *(2, "shaka", "v5.2.12"),
        (Video("nl-live-1", "Nordlicht Eins"), Video("nl-live-sport", "Nordlicht Sport")),
        ((TV, 3), (TABLET, 1)),
        (("DE", 6), ("AT", 2)),
        True,
        14,
    ),
    Site(
        *("acme", "web-player", "Acme Play"),
        (("12.0.1", 2), ("12.1.0", 5)),
        *(1, "hlsjs", "1.7.4"),
        (
            Video("launch-keynote", "Launch keynote", 620),
            Video("how-it-is-made", "How it is made", 180, "Inside Acme"),
            Video("teaser-spring", "Teaser: Spring collection", 48),
            Video("acme-live", "Acme Live"),
        ),
        ((DESKTOP, 4), (MAC, 2), (PHONE, 4)),
        (("US", 6), ("GB", 2), ("CA", 2)),
        False,
        22,
    ),
    Site(
        *("acme", "shop-embed", "Acme Shop"),
        (("2.8.0", 1),),
        *(1, "html5", None),
        (
            Video("product-360", "Product tour", 55),
            Video("sizing-guide", "Sizing guide", 95),
        ),
        ((IPHONE, 4), (PHONE, 3)),
        (("US", 5), ("FR", 3)),
        False,
        10,
    ),
    Site(
        *("samba", "ott-web", "Samba OTT"),
        (("0.9.7", 1),),
        *(2, "dashjs", "5.2.1"),
        (
            Video("novela-017", "Novela, capítulo 17", 420, "Novela"),
            Video("novela-018", "Novela, capítulo 18", 410, "Novela"),
            Video("gols-da-rodada", "Gols da rodada", 130),
        ),
        ((DESKTOP, 4), (PHONE, 5)),
        (("BR", 8), ("ZA", 2)),
        True,
        16,
    ),
    Site(
        *("samba", "clips", "Samba Clips"),
        (("4.4.0", 1), ("4.5.0", 1)),
        *(1, "dashjs", "4.7.4"),
        (
            Video("clip-501", "Street food in 90 seconds", 90),
            Video("clip-502", "Monsoon timelapse", 60),
        ),
        ((PHONE, 6), (TABLET, 1)),
        (("IN", 6), ("BR", 2)),
        True,
        8,
    ),
    Site(
        *("campus", "lectures", "Campus"),
        (("1.2.0", 1),),
        *(2, "videojs", None),
        (
            Video("algebra-04", "Linear algebra 4: eigenvalues", 900, "Linear algebra"),
            Video("safety-intro", "Laboratory safety", 160),
        ),
        ((MAC, 2), (FIREFOX, 1), (DESKTOP, 2)),
        (("GB", 4), ("FR", 2)),
        False,
        8,
    ),
    Site(
        *("campus", "museum", "Museum"),
        (("1.0.3", 1),),
        *(1, "shaka", "v5.2.12"),
        (Video("tour-egypt", "Gallery tour: Egypt", 210),),
        ((TABLET, 3), (TV, 1)),
        (("NL", 3), ("GB", 1)),
        False,
        4,
    ),
    Site(
        *("campus", "archive", "Archive"),
        (("1.0.3", 1),),
        *(2, "html5", None),
        (Video("newsreel-1956", "Newsreel 1956", 120),),
        ((FIREFOX, 1), (MAC, 1)),
        (("FR", 2), ("GB", 1)),
        False,
        3,
    ),
    Site(
        *("acme", "blog", "Acme Blog"),
        (("2.8.0", 1),),
        *(1, "videojs", None),
        (Video("founder-talk", "A talk with the founders", 330),),
        ((DESKTOP, 2), (MAC, 1)),
        (("US", 3), ("CA", 1)),
        False,
        4,
    ),
)


CMCD_SITES: Final = (
    Site(
        *("acme", "showroom", "Acme Showroom"),
        (("3.0.0", 1), ("3.1.0", 3)),
        *(NO_SDK, "hlsjs", "1.7.4"),
        (
            Video("showroom-tour", "", 150),
            Video("showroom-details", "", 90),
            Video("showroom-live", ""),
        ),
        ((DESKTOP, 4), (MAC, 2), (PHONE, 3)),
        (("US", 5), ("GB", 2), ("CA", 1)),
        False,
        5,
    ),
    Site(
        *("samba", "sports", "Samba Esporte"),
        (("1.4.0", 1),),
        *(NO_SDK, "dashjs", "5.2.1"),
        (Video("final-2026", "", 300), Video("golazo", "", 45)),
        ((PHONE, 5), (DESKTOP, 3)),
        (("BR", 6), ("ZA", 1)),
        True,
        4,
    ),
    Site(
        *("campus", "concerts", "Concerts"),
        (("0.3.0", 1),),
        *(NO_SDK, "shaka", "v5.2.12"),
        (Video("quartet-2", "", 210),),
        ((FIREFOX, 2), (TABLET, 1)),
        (("FR", 2), ("DE", 1)),
        True,
        2,
    ),
)
"""Sites without an SDK. Their devices have a user agent from which a worker reads the same."""


@dataclass(frozen=True, slots=True)
class World:
    """The sites of a simulation, and the countries of their viewers.

    Attributes:
        name: Its name on the command line.
        sites: The sites with an SDK.
        countries: Countries by code.
    """

    name: str
    sites: tuple[Site, ...]
    countries: Mapping[str, Country]
    cmcd_sites: tuple[Site, ...] = CMCD_SITES


def count_devices(world: World) -> int:
    """The number of combinations of device category, system and browser."""
    devices = {device for site in world.sites for device, _ in site.devices}
    return len({(device.category, device.os, device.browser) for device in devices})


SMALL: Final = World("small", SITES, COUNTRIES)

_FURTHER_COUNTRIES: Final = (
    ("BE CH DK ES FI IE IT NO PT SE", 26e6, 22, "meridian"),
    ("AU HK JP KR NZ SG TW", 38e6, 40, "meridian"),
    ("BG CZ EE GR HR HU IL LT PL RO SK TR UA", 18e6, 35, "meridian"),
    ("AE AR CL CO EG MX MY PE PH QA SA TH UY VN", 11e6, 70, "austral"),
    ("BD GH KE LK MA NG", 5e6, 95, "austral"),
)
"""Codes, throughput, round trip, CDN."""

_FURTHER_BROWSERS: Final = (
    ("desktop", "Windows", 1080, "Edge Firefox Opera"),
    ("desktop", "macOS", 1440, "Chrome Edge Firefox Opera"),
    ("desktop", "Linux", 1080, "Chrome Edge Opera"),
    ("desktop", "Chrome OS", 1080, "Chrome Firefox"),
    ("mobile", "Android", 1080, "Edge Firefox Opera Samsung"),
    ("mobile", "macOS", 1080, "Chrome Edge Firefox Opera"),
    ("tablet", "Android", 1080, "Edge Firefox Opera Samsung"),
    ("tablet", "macOS", 1080, "Chrome Edge Firefox Safari"),
    ("tv", "Linux", 2160, "Chrome Opera"),
    ("tv", "Android", 2160, "Chrome Firefox"),
    ("tv", "Unknown", 1080, "Safari"),
)
"""Category, system, height of the screen, browsers."""


def _create_large_world() -> World:
    countries = {
        code: Country(code, bps, 0.8, rtt, cdn)
        for codes, bps, rtt, cdn in _FURTHER_COUNTRIES
        for code in codes.split()
    }
    similar = {"desktop": DESKTOP, "mobile": PHONE, "tablet": TABLET, "tv": TV}
    devices = [DESKTOP, MAC, FIREFOX, PHONE, IPHONE, TABLET, TV]
    devices += [
        replace(similar[category], os=system, browser=browser, height=height)
        for category, system, height, browsers in _FURTHER_BROWSERS
        for browser in browsers.split()
    ]
    everywhere = {**COUNTRIES, **countries}
    sites = tuple(
        replace(
            site,
            devices=(*site.devices, *((device, 1) for device in devices)),
            countries=(*site.countries, *((code, 1) for code in everywhere)),
        )
        for site in SITES
    )
    return World("large", sites, everywhere)


LARGE: Final = _create_large_world()

WORLDS: Final = {world.name: world for world in (SMALL, LARGE)}

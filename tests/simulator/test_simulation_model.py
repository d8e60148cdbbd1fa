"""The simulated viewers: the same for the same seed, believable, and each player in its own words.

Recorded traffic (``tests/captures``) shows the events of real SDKs; the simulated events must
have no field, and no kind of value, that the recorded ones of the same generation, player and type
do not have.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import pytest

from openqoe.simulator import LARGE, SMALL, Batch, Incident, Simulation, World, parse_incident
from tests.support import captures
from tests.support.event_builders import NOW

MINUTE = 60_000

LOKI_STREAMS = 5_000
"""Loki's limit of streams for each tenant, by default."""

PLAYERS = [
    (generation, player)
    for generation in (1, 2)
    for player in ("hlsjs", "dashjs", "shaka", "videojs", "html5")
]


def batches(seed: int, viewers: int, minutes: float, *incidents: Incident) -> Iterator[Batch]:
    simulation = Simulation(viewers, seed, NOW, incidents)
    return takewhile(lambda b: b.at < NOW + minutes * MINUTE, simulation.batches())


def events_of(batch: Batch) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(batch.body)["events"]
    return events


@pytest.fixture(scope="module")
def evening() -> list[Batch]:
    """80 viewers for eight minutes without incidents."""
    return list(batches(11, 80, 8))


@pytest.fixture(scope="module")
def events(evening: list[Batch]) -> list[dict[str, Any]]:
    return [event for batch in evening if not batch.is_copy for event in events_of(batch)]


def test_same_seed_gives_the_same_bytes() -> None:
    assert list(batches(5, 20, 3)) == list(batches(5, 20, 3))
    assert list(batches(5, 20, 3)) != list(batches(6, 20, 3))


def test_batches_have_the_size_and_headers_of_an_sdk(evening: list[Batch]) -> None:
    for batch in evening:
        times = [event["event_time"] for event in events_of(batch)]
        assert 1 <= len(times) <= 10
        assert max(times) - min(times) <= 5_000
        assert max(times) <= batch.at


@pytest.mark.parametrize(("generation", "player"), PLAYERS)
def test_player_events_have_the_fields_of_recordings(
    generation: int, player: str, evening: list[Batch]
) -> None:
    recorded: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    always: dict[str, set[str]] = {}
    capture = captures.load(f"sdk{generation}-{player}")
    for event in (event for request in capture.requests for event in request.events):
        kind, data = event["event_type"], event.get("data") or {}
        for name, value in data.items():
            recorded[kind][name].add(kind_of(value))
        always[kind] = always.get(kind, set(data)) & set(data)
    # An unknown value is null in any field.
    nullable = {
        name for names in recorded.values() for name, kinds in names.items() if "None" in kinds
    }
    simulated = [
        event
        for batch in evening
        if batch.path.startswith(f"/v{generation}/")
        for event in events_of(batch)
        if event["player"]["name"] == player
    ]
    assert len({event["event_type"] for event in simulated}) >= 6
    for event in simulated:
        kind, data = event["event_type"], event.get("data") or {}
        if kind == "error":
            continue  # errors vary, the recorded one may not occur
        assert kind in always
        assert always[kind] <= set(data), kind
        for name, value in data.items():
            assert name in recorded[kind], (kind, name)
            is_null = value is None and name in nullable
            assert is_null or kind_of(value) in recorded[kind][name], (kind, name, value)


def kind_of(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_evening_without_incidents_has_plausible_rates(events: list[dict[str, Any]]) -> None:
    """Some stalls and errors, but not many."""
    views = {(e["view_id"], e["video"]["id"]) for e in events}
    count = Counter(e["event_type"] for e in events)
    ended = count["ended"] / len(views)
    assert 0.1 < ended < 0.8
    assert 0.02 < count["pause"] / len(views) - ended < 0.6
    assert count["heartbeat"] > 0.3 * len(events)
    failed = {e["view_id"] for e in events if e["event_type"] == "error"}
    assert 0 < len(failed) < 0.15 * len(views)
    quartiles = Counter(e["data"]["quartile"] for e in events if e["event_type"] == "quartile")
    assert quartiles[25] >= quartiles[50] >= quartiles[75] >= quartiles[100] > 0
    startup = sorted(
        e["data"]["video_startup_time"]
        for e in events
        if e["event_type"] == "canplay" and e["data"]["video_startup_time"] < 60_000
    )
    assert 200 < startup[len(startup) // 2] < 5_000


def test_evening_covers_all_dimensions(evening: list[Batch]) -> None:
    sample = [events_of(batch)[0] for batch in evening]
    assert len({e["org_id"] for e in sample}) >= 3
    assert len({e["player_id"] for e in sample}) >= 6
    assert len({e["video"]["title"] for e in sample}) >= 12
    assert {e["video"]["stream_type"] for e in sample} == {"live", "vod"}
    assert {e["device"]["category"] for e in sample} == {"desktop", "mobile", "tablet", "tv"}
    assert len({e["browser"]["family"] for e in sample}) >= 3
    assert len({dict(b.headers)["X-Country-Code"] for b in evening}) >= 6
    assert all(e["network"] == {} for e in sample)
    assert {e["env"] for e in sample} == {"simulated"}


def label_sets(world: World, viewers: int) -> Iterator[dict[str, str]]:
    """The labels of each event of a minute."""
    simulation = Simulation(viewers, 1, NOW, (), world)
    for batch in takewhile(lambda b: b.at < NOW + MINUTE, simulation.batches()):
        for event in events_of(batch):
            yield {
                "org_id": event["org_id"],
                "player_id": event["player_id"],
                "event_type": event["event_type"],
                "env": event["env"],
                "app_version": event["app_version"],
                "device_category": event["device"]["category"],
                "os_family": event["os"]["family"],
                "browser_family": event["browser"]["family"],
                "network_country": dict(batch.headers)["X-Country-Code"],
                "content_type": event["video"]["stream_type"],
            }


@pytest.mark.parametrize(
    ("world", "viewers", "countries", "devices"),
    [(SMALL, 200, 10, 7), (LARGE, 800, 60, 40)],
    ids=["small", "large"],
)
def test_world_has_countries_and_device_combinations(
    world: World, viewers: int, countries: int, devices: int
) -> None:
    labels = list(label_sets(world, viewers))
    assert len({one["network_country"] for one in labels}) == countries
    combinations = {
        (one["device_category"], one["os_family"], one["browser_family"]) for one in labels
    }
    assert len(combinations) == devices
    streams = {tuple(one.values()) for one in labels}
    assert (len(streams) > LOKI_STREAMS) is (world is LARGE)
    assert len({stream[:4] for stream in streams}) < 150  # org, player, event type, environment


def test_cdn_incident_affects_its_countries_only() -> None:
    """It causes stalls and errors in DE, AT and NL while it is active."""
    trouble: Counter[tuple[bool, bool]] = Counter()
    for batch in batches(2, 100, 8, Incident("cdn", 4 * MINUTE, 4 * MINUTE, 0)):
        is_sick = dict(batch.headers)["X-Country-Code"] in ("DE", "AT", "NL")
        for event in events_of(batch):
            if event["event_type"] in ("stallstart", "stall_start", "error"):
                trouble[is_sick, event["event_time"] > NOW + 4 * MINUTE] += 1
    assert trouble[True, True] > 3 * trouble[True, False]
    assert trouble[False, True] < 2 * trouble[False, False]


def test_release_incident_fails_in_the_newest_version_only() -> None:
    failed: Counter[str] = Counter()
    for batch in batches(2, 120, 8, Incident("release", 0, 8 * MINUTE, 0)):
        for event in events_of(batch):
            if event["event_type"] == "error" and event["data"]["error_family"] == "decoder":
                failed[event["app_version"]] += 1
    assert failed["5.4.0"] > 5
    assert failed["12.1.0"] > 5
    assert failed["5.3.0"] + failed["12.0.1"] < 5


def test_live_incident_stalls_live_streams_only() -> None:
    def stalls(*incidents: Incident) -> Counter[str]:
        return Counter(
            event["video"]["stream_type"]
            for batch in batches(2, 100, 4, *incidents)
            for event in events_of(batch)
            if event["event_type"].startswith("stall")
        )

    assert stalls(Incident("live", 0, 4 * MINUTE, 0))["live"] > 2 * stalls()["live"]


@pytest.mark.parametrize(
    ("text", "incident"),
    [
        ("cdn", Incident("cdn", 3 * MINUTE, 10 * MINUTE, 30 * MINUTE)),
        ("release@1h+5m/2h", Incident("release", 60 * MINUTE, 5 * MINUTE, 120 * MINUTE)),
        ("live@30s", Incident("live", 30_000, 10 * MINUTE, 30 * MINUTE)),
        ("cdn+2m/0s", Incident("cdn", 3 * MINUTE, 2 * MINUTE, 0)),
    ],
)
def test_incident_text_is_parsed(text: str, incident: Incident) -> None:
    assert parse_incident(text) == incident


@pytest.mark.parametrize("text", ["", "cdn@", "flood", "cdn@5", "cdn+30m/10m", "cdn@3m+10m/30m!"])
def test_malformed_incident_text_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|lasts as long"):
        parse_incident(text)

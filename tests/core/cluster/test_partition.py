"""Workers of one host partition the views: they count like one, whichever gets a batch."""

import json
import random

import pytest
from msgspec.structs import replace

from openqoe.core.cluster.partition import Partition, owner_of
from openqoe.core.http.messages import Request
from openqoe.core.worker import move_to_slots
from tests.core.cluster.test_fleet import load_posts, replay
from tests.support.captures import NAMES
from tests.support.event_builders import NOW, event, post
from tests.support.fleet import Fleet
from tests.support.fleet_traffic import make_rounds
from tests.support.rig import MINUTE, SECOND, player_event

PLAYING_TIME = "openqoe_playing_time_seconds"


def make_fleet_of_short_views(size: int) -> Fleet:
    return Fleet(size, partitioned=True, OPENQOE_VIEW_TIMEOUT="60", OPENQOE_FLUSH_INTERVAL="20")


def name_view(slot: int, slots: int, number: int = 0) -> str:
    """The id of a view that a slot owns."""
    names = (f"view-{n}" for n in range(10_000))
    return [name for name in names if owner_of(name, slots) == slot][number]


def view_events(view: str, second: float = 0.0) -> tuple[dict[str, object], ...]:
    return (
        player_event(second, "playing", second, view=view),
        player_event(second + 9, "heartbeat", second + 9, view=view, playing_time=9_000),
    )


# Owners


def test_views_are_dealt_evenly() -> None:
    for slots in (2, 3, 4, 16):
        counts = [0] * slots
        for number in range(4_000):
            counts[owner_of(f"{random.Random(number).getrandbits(128):032x}", slots)] += 1
        assert max(counts) < 1.3 * 4_000 / slots
        assert min(counts) > 0.7 * 4_000 / slots


@pytest.mark.parametrize("view_id", ["v" * 200, "vüe", "\ud800"])
def test_owner_of_an_event_is_that_of_its_view_in_a_snapshot(view_id: str) -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.post(0, player_event(0, "playing", 0.0, view=view_id))
    fleet.pass_time(15 * SECOND)
    for number in (0, 1):
        fleet.stop(number)
        fleet.start(number)
    fleet.post(1, player_event(1, "playing", 1.0, view=view_id))
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_views_loaded_total") == 1


# Equal to one worker


@pytest.mark.parametrize("name", NAMES[:1])
def test_real_players_dealt_to_four_workers_count_as_on_one(name: str) -> None:
    chance = random.Random(name)
    one = Fleet(1, shared=False, OPENQOE_FLUSH_INTERVAL="60")
    replay(one, load_posts(name), lambda: 0)
    four = Fleet(4, partitioned=True, OPENQOE_FLUSH_INTERVAL="60")
    replay(four, load_posts(name), lambda: chance.randrange(4))
    assert four.counts() == one.counts()
    lines = sorted(entry.line for entry in four.loki.entries())
    assert lines == sorted(entry.line for entry in one.loki.entries())


@pytest.mark.parametrize("relays", [True, False])
def test_views_dealt_at_random_count_as_on_one(relays: bool) -> None:
    counts = []
    headers = {"content-type": "application/json"}
    for size in (1, 4):
        fleet = Fleet(size, partitioned=True, relays=relays, OPENQOE_FLUSH_INTERVAL="60")
        chance = random.Random(3)
        for turn in make_rounds(60, seed=3, begin=NOW - MINUTE)[:-1]:
            for body in turn:
                number = chance.randrange(len(fleet.workers))
                fleet.handle(number, Request("POST", "/v1/events", "", headers, body, fleet.now))
            fleet.pass_time(SECOND)
        fleet.pass_time(MINUTE)
        fleet.close()
        counts.append(fleet.counts(without=("instance", "app_name")))
    assert counts[0] == counts[1]


def test_batch_with_views_of_all_owners_counts_once_for_each() -> None:
    fleet = Fleet(3, partitioned=True)
    events = [each for slot in range(3) for each in view_events(name_view(slot, 3))]
    for number in (0, 1, 2, 1):
        fleet.post(number, *events)
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 6
    assert fleet.receiver.total("openqoe_views_started_total") == 3
    assert fleet.receiver.total(PLAYING_TIME) == 27
    assert len(fleet.loki.entries()) == 6
    for slot in range(3):
        events_here = fleet.receiver.total("openqoe_events_total", instance=f"w-{slot}")
        assert events_here == 2


def test_faults_of_a_forwarded_batch_are_counted_where_it_arrived() -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.stop(1)
    bad = {**event("heartbeat", view_id=name_view(1, 2)), "org_id": 7}
    response = fleet.handle(0, post(*view_events(name_view(1, 2)), bad, now=fleet.now))
    assert response.status == 207
    assert json.loads(response.body)["errors"][0]["index"] == 2
    fleet.start(1)
    fleet.pass_time(15 * SECOND)
    rejected = "openqoe_worker_events_rejected_total"
    assert fleet.receiver.total(rejected) == fleet.receiver.total(rejected, instance="w-0") == 1
    assert fleet.receiver.total("openqoe_worker_events_accepted_total", instance="w-1") == 2


@pytest.mark.parametrize("with_view", [False, True])
def test_batch_with_events_without_a_view_counts_once_on_two_workers(with_view: bool) -> None:
    fleet = Fleet(2, partitioned=True)
    events = view_events(name_view(1, 2)) if with_view else ()
    for second in range(8):
        for number in (0, 1):
            fleet.post(number, player_event(second, "error", view="unknown"), *events)
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total", event_type="error") == 8
    here = fleet.receiver.total("openqoe_events_total", event_type="error", instance="w-1")
    assert here == 8 if with_view else 0 < here < 8


def test_same_key_with_other_body_conflicts_at_the_owner_too() -> None:
    fleet = Fleet(2, partitioned=True)
    key = {"idempotency-key": "k"}
    first = post(*view_events(name_view(1, 2)), headers=key, now=NOW)
    other = post(*view_events(name_view(1, 2), 20), headers=key, now=NOW)
    assert fleet.handle(0, first).status == 202
    assert fleet.handle(1, first).status == 202
    assert fleet.handle(1, other).status == 422
    fleet.stop(1)
    fleet.start(1)
    assert fleet.handle(1, first).status == 202
    assert fleet.handle(1, other).status == 422


@pytest.mark.parametrize("is_away", [False, True])
def test_same_key_with_other_bodies_at_two_workers(is_away: bool) -> None:
    fleet = Fleet(3, partitioned=True)
    view = name_view(2, 3)
    bodies = [
        post(*view_events(view, second), headers={"idempotency-key": "k"}, now=NOW)
        for second in (0, 20)
    ]
    if is_away:
        fleet.stop(2)
    assert fleet.handle(0, bodies[0]).status == 202
    assert fleet.handle(1, bodies[1]).status == (202 if is_away else 422)
    if is_away:
        fleet.start(2)
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == (4 if is_away else 2)


def test_same_key_with_other_bodies_at_two_hosts_counts_all_of_them() -> None:
    fleet = Fleet(3)
    view = name_view(2, 3)
    bodies = [
        post(*view_events(view, second), headers={"idempotency-key": "k"}, now=NOW)
        for second in (0, 20)
    ]
    for number in (0, 1):
        assert fleet.handle(number, bodies[number]).status == 202
    fleet.pass_time(SECOND)
    for number in (0, 1):
        assert fleet.handle(number, bodies[number]).status == 202  # sent again
        assert fleet.handle(1 - number, bodies[number]).status == 422
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 4


def test_retry_of_a_keyed_batch_that_privacy_rewrites_counts_once_on_three_workers() -> None:
    fleet = Fleet(3, partitioned=True, OPENQOE_HASH_FIELDS="viewer_id", OPENQOE_HASH_KEY="k" * 16)
    event_ = player_event(0, "playing", 0.0, view=name_view(2, 3), viewer_id="jane")
    body = post(event_, headers={"idempotency-key": "k"}, now=NOW)
    for number in (0, 1, 2):
        assert fleet.handle(number, body).status == 202
        fleet.pass_time(SECOND)
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 1


def test_concurrent_views_are_summed_over_the_slots() -> None:
    fleet = Fleet(4, partitioned=True)
    for number in range(40):
        fleet.post(number % 4, player_event(0, "playing", 0.0, view=f"v-{number}"))
    fleet.pass_time(15 * SECOND)
    assert fleet.concurrent_views() == 40


# Clean restarts


def post_stall(fleet: Fleet, view: str) -> None:
    playing = player_event(0, "playing", 0.0, view=view)
    fleet.post(0, playing, player_event(20, "heartbeat", 20.0, view=view, playing_time=20_000))
    fleet.post(0, player_event(21, "stallstart", 90.0, view=view))
    fleet.pass_time(SECOND)


def post_seek(fleet: Fleet, view: str) -> None:
    seek = player_event(21.2, "seek", 90.0, view=view, to=90_000)
    fleet.post(0, seek, player_event(22, "stallend", 90.0, view=view))
    fleet.pass_time(30 * SECOND)


@pytest.mark.parametrize("slots", [1, 2])
def test_seek_after_a_clean_restart_explains_the_stall_before_it(slots: int) -> None:
    fleet = Fleet(1, partitioned=True)
    view = name_view(slots - 1, slots)
    post_stall(fleet, view)
    repartition(fleet, slots)
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 0
    post_seek(fleet, view)
    assert fleet.receiver.total("openqoe_rebuffer_events_total", cause="seek") == 1
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1


def test_final_flush_counts_what_waits_for_later_events() -> None:
    fleet = Fleet(1, partitioned=True)
    post_stall(fleet, "view-1")
    (worker,) = fleet.workers
    fleet.run(worker, worker.close(fleet.now, is_final=True))
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1


@pytest.mark.parametrize("size", [1, 3])
def test_views_dealt_at_random_count_as_without_clean_restarts(size: int) -> None:
    counts = []
    headers = {"content-type": "application/json"}
    for restarts in (False, True):
        fleet = Fleet(size, partitioned=True, OPENQOE_FLUSH_INTERVAL="60")
        for turn in make_rounds(20, seed=3, begin=NOW - MINUTE)[:-1]:
            for number, body in enumerate(turn):
                request = Request("POST", "/v1/events", "", headers, body, fleet.now)
                fleet.handle(number % size, request)
            fleet.pass_time(SECOND)
            if restarts:
                fleet.close()
                for number in range(size):
                    fleet.start(number)
        fleet.pass_time(MINUTE)
        counts.append(fleet.counts(without=("instance", "app_name")))
    assert counts[0] == counts[1]


# Other numbers of slots


def repartition(fleet: Fleet, slots: int) -> Fleet:
    """Stop all workers, move their views, and start as many as there are slots then."""
    fleet.close()
    size = max(slots, len(fleet.workers))
    for number in range(len(fleet.workers), size):
        fleet.disks.append(type(fleet.disks[0])())
        fleet.workers.append(fleet.start_worker(number))
        fleet.close(number)
    move_to_slots(fleet.workers, slots)
    for worker in fleet.workers:
        fleet.run(worker, worker.checkpoint(fleet.now))
    fleet.slots = slots
    for number in range(size):
        fleet.start(number)
    return fleet


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2)])
def test_views_and_duplicates_survive_another_number_of_slots(before: int, after: int) -> None:
    fleet = make_fleet_of_short_views(before)
    first = [post(*view_events(f"view-{number}"), now=NOW) for number in range(8)]
    for number, request in enumerate(first):
        fleet.handle(number % before, request)
    fleet.pass_time(20 * SECOND)
    repartition(fleet, after)
    for number, request in enumerate(first):
        assert fleet.handle(number % after, replace(request, first_byte_at=fleet.now)).status == 202
    for number in range(8):
        fleet.post(number % after, *view_events(f"view-{number}", 20))
    fleet.pass_time(3 * MINUTE)
    assert fleet.receiver.total("openqoe_views_loaded_total") == 8
    assert fleet.receiver.total("openqoe_events_total") == 32
    assert fleet.receiver.total("openqoe_view_outcomes_total") == 8
    for number, worker in enumerate(fleet.workers):
        assert worker.partition == Partition(after, number)


def test_crash_before_the_new_number_takes_effect_changes_nothing() -> None:
    fleet = make_fleet_of_short_views(2)
    for number in range(8):
        fleet.post(number % 2, *view_events(f"view-{number}"))
    fleet.pass_time(20 * SECOND)
    repartition(fleet, 2)
    fleet.close()
    move_to_slots(fleet.workers, 1)
    for worker in fleet.workers:
        fleet.run(worker, worker.checkpoint(fleet.now))
    for number in (0, 1):
        fleet.start(number)
    fleet.pass_time(3 * MINUTE)
    assert fleet.receiver.total("openqoe_views_loaded_total") == 8
    assert fleet.receiver.total("openqoe_view_outcomes_total") == 8


def test_view_does_not_end_while_a_batch_of_it_waits_for_its_owner() -> None:
    view = name_view(0, 2)
    fleet = make_fleet_of_short_views(2)
    fleet.post(1, *view_events(view))
    fleet.pass_time(10 * SECOND)
    fleet.stop(0)
    fleet.pass_time(30 * SECOND)
    fleet.post(1, player_event(40, "ended", 40.0, view=view))
    fleet.pass_time(MINUTE)
    fleet.start(0)
    fleet.pass_time(3 * MINUTE)
    assert fleet.receiver.total("openqoe_view_outcomes_total", outcome="completed") == 1
    assert fleet.receiver.total("openqoe_view_outcomes_total") == 1


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_end_that_waits_for_its_owner_explains_the_pause_before_it(how: str) -> None:
    view = name_view(0, 2)
    fleet = Fleet(2, partitioned=True, relays=False)
    fleet.post(1, *view_events(view), player_event(9.96, "pause", 9.96, view=view))
    fleet.pass_time(SECOND)
    fleet.stop(0)
    fleet.post(1, player_event(10, "ended", 10.0, view=view))
    fleet.pass_time(MINUTE)
    if how == "dies":
        fleet.start(0)
    else:
        fleet.stopped.discard(0)
    fleet.pass_time(3 * MINUTE)
    assert fleet.receiver.total("openqoe_view_outcomes_total", outcome="completed") == 1
    assert fleet.receiver.total("openqoe_pause_events_total") == 0


def test_worker_that_is_always_late_ends_its_views_all_the_same() -> None:
    fleet = make_fleet_of_short_views(2)
    fleet.post(0, *view_events(name_view(0, 2)))
    for _ in range(12):
        fleet.stopped.add(0)
        fleet.pass_time(25 * SECOND)
        fleet.stopped.discard(0)
        fleet.pass_time(SECOND)
    assert fleet.receiver.total("openqoe_view_outcomes_total") == 1


def test_batches_kept_for_an_owner_by_several_workers_are_applied_in_order() -> None:
    view = name_view(0, 3)
    fleet = Fleet(3, partitioned=True, OPENQOE_FLUSH_INTERVAL="1")
    fleet.post(1, player_event(0, "playing", 0.0, view=view))
    fleet.pass_time(20 * SECOND)
    fleet.stop(0)
    fleet.post(1, player_event(20, "heartbeat", 20.0, view=view))
    fleet.post(2, player_event(22, "stall_start", 22.0, view=view))
    fleet.post(2, player_event(25, "stall_end", 22.0, view=view, stall_duration=3_000))
    fleet.post(1, player_event(40, "heartbeat", 37.0, view=view))
    fleet.pass_time(30 * SECOND)
    fleet.stop(2)
    fleet.start(0)
    fleet.pass_time(5 * SECOND)
    fleet.start(2)
    fleet.pass_time(MINUTE)
    assert fleet.receiver.total("openqoe_rebuffer_events_total", cause="rebuffer") == 1

"""Too much work: refused early and cheaply, so that nobody waits long and nothing grows."""

import msgspec
import pytest

from openqoe.core import Config, Response, Worker
from openqoe.core.cluster.coordinator import MOST_BEHIND
from openqoe.core.effects import Append, KvResult, KvUpdate, Stored
from openqoe.core.engine.load_shedding import (
    BURST,
    FAR,
    FLOOD,
    HOPELESS,
    LEAST,
    PAUSE,
    PERIOD,
    REST,
    SAVED,
    SHARE,
    TIGHTER,
    VAIN,
)
from openqoe.core.http import ConnectionSet, Request
from openqoe.core.http.refusal import refuse_plainly
from tests.core.engine.test_durability import of, worker
from tests.core.engine.test_incremental_flush import THEN, busy
from tests.support.events import NOW, event, post
from tests.support.memory_store import MemoryStore

BODY = 10_000


def asked(made: Worker, waited: int, now: int = NOW) -> Response:
    """The answer to a batch that came a while ago."""
    request = post(event("viewstart", at=NOW), now=now - waited)
    return made.handle(msgspec.structs.replace(request, arrived=now - waited), now).response


def statuses(made: Worker, waited: int, *times: int) -> list[int]:
    """The answers to batches that have waited all the same, at these times (ms since NOW)."""
    return [asked(made, waited, NOW + time).status for time in times]


FLOODED = range(0, BURST, 1)
"""Times of a flood: of those behind it that wait as long some are refused."""

ALLOWED = 200
"""ms that a batch may wait for a patient worker in an overload."""

LATE = 250
"""ms that are too long for it then, but not far too long."""

TOO_LONG = 500
"""ms that are too long for it in any case."""


def patient() -> Worker:
    return worker(OPENQOE_MAX_WAIT=str(ALLOWED / TIGHTER / 1_000))


def test_a_burst_is_served() -> None:
    assert statuses(worker(), 1_900, *range(0, BURST, 5)) == [202] * 400


def test_a_few_clients_of_a_slow_machine_are_no_flood() -> None:
    made = worker()
    assert statuses(made, 900, *range(0, 25_000, 250)) == [202] * 100


def test_that_one_of_them_is_held_up_for_long_makes_them_no_flood() -> None:
    made = worker()
    assert 503 not in statuses(made, 150, *range(0, 2 * BURST, 2))  # 75 at once
    assert asked(made, 5_000, NOW + 2 * BURST).status == 202


def test_it_is_one_if_so_many_wait_at_once() -> None:
    waited = FLOOD * 10  # ms, at 100 a second
    assert 503 not in statuses(worker(), waited - 100, *range(0, 2 * BURST, 10))
    assert 503 in statuses(worker(), waited, *range(0, 2 * BURST, 10))


def mixed(made: Worker, in_time: int) -> list[int]:
    """The answers to a thousand a second, so many of ten of which are in time."""
    waits = (10 if time % 10 < in_time else 500 for time in range(2 * BURST))
    return [asked(made, waited, NOW + time).status for time, waited in enumerate(waits)]


def test_a_flood_is_one_though_a_few_of_it_are_in_time() -> None:
    assert 503 in mixed(worker(), 3)
    assert 503 not in mixed(worker(), 4)


def test_bursts_with_a_pause_between_them_are_no_flood() -> None:
    made = worker()
    first = range(BURST - 1)
    second = range(first.stop - 1 + PAUSE, first.stop - 1 + PAUSE + BURST)
    assert 503 not in statuses(made, 500, *first, *second)
    assert 503 in statuses(worker(), 500, *first, second.start - 1, *second)


def test_a_flood_is_refused_as_far_as_it_waits_too_long() -> None:
    made = worker()
    assert statuses(made, 101, *FLOODED) == [202] * BURST
    refused = asked(made, 101, NOW + BURST)
    assert refused.status == 503
    assert dict(refused.headers)["Retry-After"] == "5"
    assert statuses(made, 101, BURST + 1) == [503]
    assert statuses(made, 50, BURST + 10, BURST + 11) == [202, 202]
    assert 503 in statuses(made, 101, *[BURST + 12] * 10), "it is not over yet"


@pytest.mark.parametrize("waited", [ALLOWED + 1, ALLOWED * FAR - 1])
def test_half_of_what_was_managed_before_is_accepted_however_late(waited: float) -> None:
    made = patient()
    managed = statuses(made, TOO_LONG, *range(0, BURST + 1, 2))  # 500 a second
    assert managed == [202] * 1_000 + [503]
    flood = statuses(made, int(waited), *range(BURST, BURST + 2_000, 1))  # 1,000 a second
    assert flood.count(202) == pytest.approx(2 * 500 * SHARE, abs=2)
    assert 202 in flood[-10:], "evenly, not all at once"


def flooded(made: Worker, waited: int, since: int, seconds: int) -> list[int]:
    """How many of 500 a second are accepted, in each second."""
    return [
        statuses(made, waited, *range(begin, begin + 1_000, 2)).count(202)
        for begin in range(since, since + seconds * 1_000, 1_000)
    ]


def test_less_is_accepted_while_they_wait_far_too_long() -> None:
    made = patient()
    assert flooded(made, TOO_LONG, 0, BURST // 1_000) == [500] * (BURST // 1_000)
    *_, least = flooded(made, TOO_LONG, BURST, 30)
    assert least == pytest.approx(500 * LEAST, abs=2)
    *_, at_last = flooded(made, LATE, BURST + 30_000, 10)
    assert at_last == pytest.approx(500 * SHARE, abs=2)


def test_but_not_for_long_where_that_does_not_help() -> None:
    made = patient()
    hopeless = ALLOWED * HOPELESS + 1
    flooded(made, hopeless, 0, BURST // 1_000)
    accepted = flooded(made, hopeless, BURST, 30)
    least = next(at for at, count in enumerate(accepted) if count <= 500 * LEAST + 2)
    again = least + VAIN * PERIOD // 1_000
    usual = accepted[again : again + REST // 1_000]
    assert usual == pytest.approx([500 * SHARE] * len(usual), abs=2)
    assert min(accepted[again + len(usual) :]) == pytest.approx(500 * LEAST, abs=2), "once more"


def served(made: Worker, since: int, until: int, *, accepted: int, refused: int) -> list[int]:
    """The answers to a flood, given one after the other.

    Args:
        made: The worker.
        since: When the first is looked at, ms since NOW.
        until: When no more is.
        accepted: ms that an accepted batch takes.
        refused: ms that a refused one takes.
    """
    answers = []
    while since < until:
        answers.append(asked(made, LATE, NOW + since).status)
        since += accepted if answers[-1] == 202 else refused
    return answers


@pytest.mark.parametrize("refused", [1, 5])
def test_half_of_it_is_accepted_whatever_refusals_cost(refused: int) -> None:
    made = patient()
    statuses(made, TOO_LONG, *range(0, BURST + 1, 5))  # 200 a second
    flood = served(made, BURST, BURST + 4_000, accepted=5, refused=refused)
    assert flood.count(202) == pytest.approx(4 * 200 * SHARE, rel=0.02)
    assert flood.count(503) == pytest.approx(4_000 * (1 - SHARE) / refused, rel=0.02)


def test_a_worker_that_was_held_up_for_a_moment_comes_to_accept_as_much_as_before() -> None:
    made = patient()
    statuses(made, TOO_LONG, *range(0, BURST + 1, 2))  # 500 a second
    slower = BURST + 2 * PERIOD
    served(made, BURST, slower, accepted=10, refused=10)  # 100 a second are all that it gets to
    at_once = served(made, slower, slower + 1_000, accepted=2, refused=2)
    assert at_once.count(202) < 200
    served(made, slower + 1_000, slower + 30_000, accepted=2, refused=2)
    later = served(made, slower + 30_000, slower + 31_000, accepted=2, refused=2)
    assert later.count(202) == pytest.approx(500 * SHARE, rel=0.02)


def test_a_worker_that_comes_to_manage_less_accepts_less() -> None:
    made = patient()
    statuses(made, TOO_LONG, *range(0, BURST + 1, 2))  # 500 a second
    slower = range(BURST, BURST + PERIOD, 5)  # 200 a second are all that it gets to
    assert statuses(made, LATE, *slower) == [503] + [202] * (PERIOD // 5 - 1)
    refusing = range(BURST + PERIOD, BURST + 2 * PERIOD, 4)
    accepted = statuses(made, LATE, *refusing).count(202)
    assert accepted == pytest.approx(PERIOD / 1_000 * 200 * SHARE, abs=4)


def test_a_worker_that_is_in_time_on_the_average_goes_on_as_before() -> None:
    made = patient()
    assert statuses(made, TOO_LONG, *range(0, BURST + 1, 2))[-1] == 503
    for time in range(BURST + 5, BURST + 4_000, 5):
        waited = LATE if time % 2 else ALLOWED - 100
        assert asked(made, waited, NOW + time).status == 202


def test_those_that_come_in_time_are_accepted_first() -> None:
    made = patient()
    statuses(made, TOO_LONG, *range(0, BURST + 1, 5))
    for time in range(BURST + 5, BURST + 2_000, 5):  # 200 a second in time, and as many late
        assert asked(made, 10, NOW + time).status == 202
        assert asked(made, LATE, NOW + time).status == 503


def test_in_an_overload_half_as_long_is_too_long() -> None:
    made = patient()
    assert statuses(made, TOO_LONG, *range(0, BURST + 1, 2))[-1] == 503
    at_once = [BURST + 1] * 10
    assert statuses(made, ALLOWED, *at_once) == [202] * 10
    assert statuses(made, ALLOWED + 1, *at_once) == [503] * 10
    assert statuses(patient(), ALLOWED + 1, *range(2 * BURST)) == [202] * 2 * BURST, "not before"


def test_after_a_pause_no_flood_is_let_in() -> None:
    made = patient()
    statuses(made, TOO_LONG, *range(0, BURST + 1, 5))
    flood = statuses(made, LATE, *[60_000] * 500)
    assert flood.count(202) == 200 * SHARE * SAVED / 1_000


def test_a_pause_is_no_measure_of_what_a_worker_manages() -> None:
    made = patient()
    assert statuses(made, TOO_LONG, *range(0, BURST + 1, 2))[-1] == 503
    assert (
        statuses(made, LATE, *range(BURST + 2 * PERIOD, BURST + 2 * PERIOD + 100, 5)) == [202] * 20
    )
    assert flooded(made, LATE, 60_000, 1) == [
        pytest.approx(500 * SHARE * (1 + SAVED / 1_000), abs=2)
    ]


def test_it_is_over_when_none_has_waited_too_long_for_a_while() -> None:
    made = worker()
    assert statuses(made, 500, *FLOODED, BURST)[-1] == 503
    assert statuses(made, 1, 3_000, 12_000) == [202, 202]
    assert statuses(made, 500, 12_500) == [202]


def test_the_clock_may_be_put_back() -> None:
    made = worker()
    assert statuses(made, 500, *FLOODED, BURST)[-1] == 503
    assert statuses(made, 1, -60_000) == [202]
    assert statuses(made, 500, -50_000, -49_000) == [202, 202]


def test_how_long_a_batch_may_wait_is_a_setting() -> None:
    times = range(0, 2 * BURST, 10)
    assert statuses(worker(OPENQOE_MAX_WAIT="2"), 2_000, *times) == [202] * len(times)
    assert 503 in statuses(worker(OPENQOE_MAX_WAIT="2"), 2_001, *times)
    assert statuses(worker(OPENQOE_MAX_WAIT="0"), 60_000, *times) == [202] * len(times)


def test_what_was_refused_is_not_lost_and_no_duplicate_when_it_comes_again() -> None:
    made = worker()
    statuses(made, 500, *FLOODED)
    late = post(event("viewstart", at=NOW, view_id="late"), now=NOW + 1_500)
    late = msgspec.structs.replace(late, arrived=NOW + 1_500)
    assert made.handle(late, NOW + 2_000).response.status == 503
    assert made.handle(msgspec.structs.replace(late, arrived=0), NOW + 2_000).response.status == 202
    stats = made.handle(Request("GET", "/stats"), NOW).response.body
    assert b'"refused":{"wait":1}' in stats
    assert b'"views":2' in stats
    metrics = made.handle(Request("GET", "/metrics"), NOW).response.body
    assert b'openqoe_worker_requests_refused_total{reason="wait"} 1' in metrics


def test_health_answers_however_long_it_waited() -> None:
    made = worker()
    for path in ("/health", "/ready", "/metrics", "/stats"):
        request = Request("GET", path, received=NOW - 9_000, arrived=NOW - 9_000)
        assert made.handle(request, NOW).response.status == 200


def test_a_journal_that_falls_behind_refuses_batches_until_it_catches_up() -> None:
    made = worker(OPENQOE_MAX_WAITING_BYTES="1024")
    appends: list[Append] = []
    answers = []
    for number in range(10):
        outcome = made.handle(post(event("viewstart", view_id=str(number)), now=NOW), NOW)
        answers.append(outcome.response.status)
        appends += of(Append, outcome.effects)
    assert answers == sorted(answers)
    assert {*answers} == {202, 503}
    for append in appends:
        made.complete(append.id, Stored(), NOW)
    assert asked(made, 0).status == 202


def test_batches_that_wait_for_a_flush_are_bounded_too() -> None:
    made = busy(1, OPENQOE_MAX_WAITING_BYTES="2048")
    made.poll(THEN)
    for number in range(100):
        outcome = made.handle(post(event("viewstart", view_id=f"n{number}"), now=THEN), THEN)
        for append in of(Append, outcome.effects):
            made.complete(append.id, Stored(), THEN)
        if outcome.response.status == 503:
            break
    else:
        raise AssertionError("they are without bound")
    while made.next_poll() == THEN:
        made.poll(THEN)
    assert asked(made, 0, THEN).status == 202


def test_a_shared_store_that_falls_behind_refuses_batches_until_it_catches_up() -> None:
    made = Worker(Config(), instance="a", shared=True)
    updates: list[KvUpdate] = []

    def status(number: int) -> int:
        events = (event("custom", view_id=f"view-{number}") for _ in range(1_000))
        outcome = made.handle(post(*events, now=NOW), NOW)
        updates.extend(of(KvUpdate, outcome.effects))
        return outcome.response.status

    taken = next(number for number in range(1_000) if status(number) == 503)
    assert taken == MOST_BEHIND // 1_000 + 1
    store = MemoryStore(lambda: NOW)
    while updates:
        update = updates.pop(0)
        result = KvResult(store.run(update.operations))
        updates += of(KvUpdate, made.complete(update.id, result, NOW))
    assert status(taken) == 202


def head(length: int) -> bytes:
    return b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


def test_bodies_on_their_way_are_bounded_over_all_connections() -> None:
    connections = ConnectionSet(Config(max_waiting_bytes=5 * BODY), refuse_plainly)
    clients = [connections.open(NOW) for _ in range(8)]
    for client in clients:
        client.receive_data(head(BODY) + b"x" * (BODY - 1), NOW)
    refused = [client for client in clients if b" 503 " in client.data_to_send()]
    assert len(refused) == 3
    for client in refused:
        connections.close(client)
    for client in clients[:5]:  # those that had begun go on
        client.receive_data(b"x", NOW)
        assert client.next_request(NOW) is not None
    late = connections.open(NOW)
    late.receive_data(head(BODY) + b"x" * (BODY - 1), NOW)
    assert late.data_to_send() == b""


def test_a_client_that_goes_away_leaves_its_room_to_others() -> None:
    connections = ConnectionSet(Config(max_waiting_bytes=BODY), refuse_plainly)
    for _ in range(5):
        client = connections.open(NOW)
        client.receive_data(head(BODY) + b"x" * (BODY - 1), NOW)
        assert client.data_to_send() == b""
        connections.close(client)

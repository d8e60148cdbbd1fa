"""Views beyond the limit: newcomers give way first, then views of the largest organisations."""

from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.primitives.fair_share import NEWCOMERS_SHARE
from openqoe.core.qoe.view import ViewKey
from openqoe.core.qoe.view_table import ESTABLISHED_AFTER, ViewTable
from tests.support.event_builders import NOW
from tests.support.rig import HOUR, Rig, player_event

LIMIT = 80
TIMEOUT = 30 * 60_000


def table() -> ViewTable:
    return ViewTable(TIMEOUT, LIMIT, 24 * HOUR)


def see(views: ViewTable, org: str, view: str, now: int) -> ViewKey:
    key = ViewKey(org, view, None, None)
    views.get_or_create(key, (), now)
    return key


def establish(views: ViewTable, org: str, count: int, now: int = NOW) -> list[ViewKey]:
    """Views that were seen twice."""
    for at in (now, now + ESTABLISHED_AFTER):
        keys = [see(views, org, f"known-{number}", at) for number in range(count)]
    return keys


def live(views: ViewTable, keys: list[ViewKey]) -> int:
    return sum(key in views._views for key in keys)


def evict(views: ViewTable, now: int) -> None:
    for _ in views.expire_views(now):
        pass


def test_million_views_seen_once_end_no_established_view() -> None:
    views = table()
    known = establish(views, "acme", LIMIT - LIMIT // NEWCOMERS_SHARE)
    later = NOW + 10_000
    for number in range(1_000):
        see(views, f"org-{number % 7}", f"random-{number}", later)
    evict(views, later)
    assert live(views, known) == len(known)
    assert len(views) == LIMIT


def test_known_ended_views_outlive_ended_newcomers() -> None:
    views = table()
    known = establish(views, "acme", 20)
    later = NOW + ESTABLISHED_AFTER + TIMEOUT
    evict(views, later + 1_000)
    for turn in range(10):
        for number in range(50):
            see(views, "acme", f"random-{turn}-{number}", later + turn * TIMEOUT)
        evict(views, later + (turn + 1) * TIMEOUT + 1_000)
    assert all(key in views for key in known)


def test_organisation_with_most_views_gives_way() -> None:
    views = table()
    small = establish(views, "small", 20)
    large = establish(views, "large", 200, NOW + 1)
    evict(views, NOW + 10_000)
    assert live(views, small) == 20
    assert live(views, large) == LIMIT - 20


def test_longest_silent_view_of_an_organisation_ends_first() -> None:
    views = table()
    known = establish(views, "acme", LIMIT)
    for number in range(1, LIMIT):
        see(views, "acme", f"known-{number}", NOW + 60_000)
    establish(views, "acme-2", 1)
    evict(views, NOW + 61_000)
    assert [key for key in known if key not in views._views] == known[:1]


def test_new_view_survives_its_first_seconds_in_a_full_table() -> None:
    views = table()
    establish(views, "acme", 2 * LIMIT)
    new = see(views, "acme", "new", NOW + 10_000)
    evict(views, NOW + 10_000)
    assert live(views, [new]) == 1


def test_evicted_newcomer_that_comes_back_is_the_same_view() -> None:
    rig = Rig(OPENQOE_MAX_VIEWS="8", OPENQOE_FLUSH_INTERVAL="1")
    rig.post(player_event(0, "playing", 0.0, view="first"))
    for number in range(7):
        rig.post(player_event(0, "playing", 0.0, view=f"other-{number}"))
    rig.flush()
    rig.post(player_event(1, "playing", 0.0, view="first"))
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 8


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(0, 8_000)), max_size=120
    )
)
def test_live_and_ended_views_never_exceed_the_limit(steps: list[tuple[str, int, int]]) -> None:
    views, now = ViewTable(20_000, 10, HOUR), NOW
    for org, number, wait in steps:
        now += wait
        see(views, org, f"view-{number}", now)
        evict(views, now)
        assert len(views) + len(views._ended) <= 10
        assert views._ended_newcomers.keys() <= views._ended.keys()
        assert views._newcomers.keys() <= set(views._views.values())

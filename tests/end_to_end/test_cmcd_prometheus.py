"""Recorded CMCD through every host into a real Prometheus: the media element's truth arrives."""

import time
from collections.abc import Iterator

import pytest

from tests.support.cmcd_accuracy import HEADERS, target
from tests.support.cmcd_captures import Page, all_pages, posts, shifted, times_of
from tests.support.hosts import HOSTS, Host
from tests.support.prometheus_server import Prometheus
from tests.support.services import require

RECORDING = "cmcd2-hlsjs"
PAGES = [page for page in all_pages() if page.recording == RECORDING]


@pytest.fixture(params=HOSTS, ids=[host.name for host in HOSTS], scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.param
    return found


@pytest.fixture(scope="module")
def prometheus(host: Host) -> Iterator[Prometheus]:
    """Send the recording, each body twice, and stop the worker."""
    require("prometheus")
    accepted = [post for post in posts(RECORDING) if post.status < 300]
    newest = max(at for post in accepted for at in times_of(post.body))
    ms = int(time.time() * 1000) - newest - 5_000
    path = f"/v1/cmcd?{target(PAGES[0])}"
    with Prometheus() as server:
        settings = {
            "PROMETHEUS_URL": server.write_url,
            "OPENQOE_FLUSH_INTERVAL": "0.5",
            "OPENQOE_INSTANCE": "e2e",
        }
        with host.run(settings) as worker:
            for number, post in enumerate(accepted):
                body = shifted(post.body, ms)
                for _ in range(2):
                    status, _, answer = worker.request("POST", path, body, HEADERS)
                    assert (status, answer) == (204, b"")
                if number % 40 == 0:
                    time.sleep(0.55)  # several flushes
            assert worker.stop() in host.exits
            worker.run_command("drain")
        yield server


def total(prometheus: Prometheus, selector: str) -> float:
    """The exact increase: the sum of last minus first sample over the series."""
    ranges = prometheus.samples(selector)
    assert ranges, f"nothing found for {selector}"
    return sum(one.samples[-1][1] - one.samples[0][1] for one in ranges)


def records(pages: list[Page]) -> int:
    return sum(post.body.count(b"\n") for page in pages for post in page.accepted)


def test_each_record_counts_once(prometheus: Prometheus) -> None:
    assert total(prometheus, "openqoe_events_total") == records(PAGES)


def test_stalls_and_seeks_are_those_of_the_media_elements(prometheus: Prometheus) -> None:
    for cause in ("rebuffer", "seek"):
        labels = f'cause="{cause}",player_name="hlsjs",org_id="acme"'
        count = sum(page.truth.count(cause) for page in PAGES)
        seconds = sum(page.truth.seconds(cause) for page in PAGES)
        assert total(prometheus, f"openqoe_rebuffer_events_total{{{labels}}}") == count
        found = total(prometheus, f"openqoe_rebuffer_duration_seconds_sum{{{labels}}}")
        assert found == pytest.approx(seconds, abs=0.05 * count)
    seeks = sum(page.truth.seeks for page in PAGES)
    assert total(prometheus, "openqoe_seeks_total") == seeks


def test_playing_time_and_starts_are_those_of_the_media_elements(prometheus: Prometheus) -> None:
    media = sum(page.truth.media_s for page in PAGES)
    assert total(prometheus, "openqoe_playing_time_seconds") == pytest.approx(media, abs=0.5)
    starts = [page.truth.startup_s for page in PAGES if page.truth.startup_s is not None]
    assert total(prometheus, "openqoe_video_startup_seconds_count") == len(starts)
    found = total(prometheus, "openqoe_video_startup_seconds_sum")
    assert found == pytest.approx(sum(starts), abs=0.05 * len(starts))


def test_browser_and_system_follow_from_the_user_agent(prometheus: Prometheus) -> None:
    labels = 'browser_family="Chrome",os_family="Linux",device_category="desktop"'
    assert total(prometheus, f"openqoe_events_total{{{labels}}}") == records(PAGES)


def test_prometheus_refuses_no_sample(prometheus: Prometheus) -> None:
    prometheus.assert_nothing_rejected()

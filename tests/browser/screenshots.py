"""Screenshots of the dashboard for the documentation: ``python -m tests.browser.screenshots``.

Two hours of simulated viewers go through a worker whose clock is wound forward, so that its store
holds all their flushes; a CDN goes bad on the way. Then a real worker serves that store, and a
real browser looks at it.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlencode

from openqoe.simulator import Simulation, parse_incident
from tests.browser.browser import DESKTOP, PHONE, Browser
from tests.support.simulated_store import SimulatedStore, ViewTruth
from tests.support.simulated_viewers import UNLIMITED_LABELS
from tests.support.worker_process import WorkerProcess

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"

SETTINGS: Final = {
    "OPENQOE_INSTANCE": "studio",
    "OPENQOE_VIEW_TIMEOUT": "300",  # so that most of the views have an outcome
    **UNLIMITED_LABELS,
}

VIEWERS: Final = 120
MINUTES: Final = 130
INCIDENT: Final = "cdn@92m+10m/24h"


def fill(folder: Path) -> dict[str, ViewTruth]:
    """Fill a store with the viewers' views until now; returns their truth."""
    begin = _real_time() - MINUTES * 60_000
    store = SimulatedStore(folder, begin, **SETTINGS)
    for batch in Simulation(VIEWERS, 7, begin, (parse_incident(INCIDENT),)).batches():
        if batch.at > _real_time():
            break
        store.send(batch)
    store.close()
    return store.truth


def choose_view(views: dict[str, ViewTruth]) -> str:
    """The address of a view in which much happened."""

    def interest(key: str) -> tuple[float, str]:
        numbers = views[key].numbers()
        if numbers["bitrate_avg"] is None or not numbers["rebuffers"]:
            return 0, key
        kinds = {one.state for one in views[key].lane()}
        return len(kinds) * 10 + min(len(views[key].lane()), 12), key

    key = max(views, key=interest)
    view_id, video_id = key.split("/")
    wanted = {"org_id": views[key].labels["org_id"], "view_id": view_id, "video_id": video_id}
    return f"?{urlencode({'page': 'view', **wanted})}"


def _real_time() -> int:
    return time.time_ns() // 1_000_000


def show_dashboard(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait_for_charts()


def show_list(browser: Browser, url: str) -> None:
    """The views that stalled most, at the top of the screen."""
    browser.open(f"{url}?last=6h&views.sort=rebuffer_ms")
    browser.wait(lambda: browser.all("#views tbody tr"), "the list of views")
    browser.wait_for_charts()
    browser.run("document.getElementById('views-title').scrollIntoView()")


def show_view(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait(lambda: browser.all("#view-events details"), "the events of the view")


def main() -> None:
    """Save the screenshots."""
    IMAGES.mkdir(exist_ok=True)
    worker = WorkerProcess(SETTINGS)
    view = choose_view(fill(worker.data))
    with worker, TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            for name, scheme, size, show, address in (
                ("dashboard", "light", (DESKTOP[0], 1290), show_dashboard, ""),
                ("dashboard-phone", "dark", PHONE, show_dashboard, ""),
                ("views", "light", (DESKTOP[0], 900), show_list, ""),
                ("view", "dark", (DESKTOP[0], 1150), show_view, view),
            ):
                browser.scheme(scheme)
                browser.resize(*size)
                show(browser, f"{worker.url}/{address}")
                time.sleep(1)  # the page's own transitions
                path = IMAGES / f"{name}.png"
                browser.picture(path)
                print(f"{path.relative_to(IMAGES.parents[1])}: {path.stat().st_size // 1000} kB")
        finally:
            browser.close()


if __name__ == "__main__":
    main()

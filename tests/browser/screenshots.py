"""Screenshots of the dashboard for the documentation: ``python -m tests.browser.screenshots``.

Two hours of simulated viewers go through a worker whose clock is wound forward, so that its store
holds all their flushes; a CDN goes bad on the way. Then a real worker serves that store, and a
real browser looks at it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Effect, HttpResult, LokiPush, RemoteWrite
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from openqoe.embedded.sample_schema import FILE, open_writer
from openqoe.embedded.sample_writer import SampleWriter
from openqoe.simulator import Simulation, parse_incident
from tests.browser.browser import DESKTOP, PHONE, Browser
from tests.support.handling import handle
from tests.support.worker_process import WorkerProcess

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"

SETTINGS: Final = {
    "OPENQOE_INSTANCE": "studio",
    "CARDINALITY_LIMITS": '{"limits":{"video_id":{"max_cardinality":1000,"action":"allow"}}}',
}

VIEWERS: Final = 120
MINUTES: Final = 130
INCIDENT: Final = "cdn@92m+10m/24h"


class History:
    """A worker with a simulated clock, which is fast until it has caught up with the real one."""

    def __init__(self, folder: Path) -> None:
        self.now = _real_time() - MINUTES * 60_000
        config = Config.from_environment({**SETTINGS, "OPENQOE_DATA_DIR": str(folder)})
        self.worker = Worker(config, instance="studio-0", seed=1, embedded=True)
        database = open_writer(folder / FILE, full=False)
        self.tables = SampleWriter(database, config.cardinality_limits["video_id"])

    def live(self) -> None:
        """Send the viewers' batches until now."""
        simulation = Simulation(VIEWERS, 7, self.now, (parse_incident(INCIDENT),))
        self._run(self.worker.poll(self.now))
        for one in simulation.batches():
            if one.at > _real_time():
                break
            self._pass_time(round(one.at))
            headers = {name.lower(): value for name, value in one.headers}
            request = Request("POST", one.path, "", headers, one.body, self.now)
            outcome = handle(self.worker, request, self.now)
            assert outcome.response.status in (202, 207), outcome.response.body
            self._run(outcome.effects)

    def _pass_time(self, until: int) -> None:
        while (due := self.worker.next_poll()) is not None and due <= until:
            self.now = max(self.now, due)
            self._run(self.worker.poll(self.now))
        self.now = max(self.now, until)

    def _run(self, effects: Iterable[Effect]) -> None:
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, RemoteWrite):
                self.tables.write_metrics(effect.body)
            elif isinstance(effect, LokiPush):
                self.tables.write_logs(effect.body, dict(effect.headers)["Content-Type"])
            else:
                continue
            waiting += self.worker.complete(effect.id, HttpResult(204), self.now)


def _real_time() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    """Save the screenshots."""
    IMAGES.mkdir(exist_ok=True)
    worker = WorkerProcess(SETTINGS)
    History(worker.data).live()
    with worker, TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            for name, scheme, size in (
                ("dashboard", "light", (DESKTOP[0], 1290)),
                ("dashboard-phone", "dark", PHONE),
            ):
                browser.scheme(scheme)
                browser.resize(*size)
                browser.open(worker.url)
                browser.wait_for_charts()
                time.sleep(1)  # the page's own transitions
                path = IMAGES / f"{name}.png"
                browser.picture(path)
                print(f"{path.relative_to(IMAGES.parents[1])}: {path.stat().st_size // 1000} kB")
        finally:
            browser.close()


if __name__ == "__main__":
    main()

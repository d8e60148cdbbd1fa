"""Two hosts with networks of their own count as one, also when one is cut off from the servers."""

import sys
import time
from collections.abc import Sequence

import pytest

from tests.support.dealt import Clients, differences, rounds, single, stored
from tests.support.events import NOW
from tests.support.network import Host
from tests.support.process import Command, WorkerProcess
from tests.support.prometheus import Prometheus
from tests.support.redis import Redis
from tests.support.services import wait_until

VIEWS = 200


def served_on(host: Host, shell: str) -> Command:
    """Two workers of a shell on a host."""

    def command(port: int) -> Sequence[str]:
        options = ("--shell", shell, "--host", "*", "--port", str(port), "--workers", "2")
        return host.inside(sys.executable, "-m", "openqoe.shells", "serve", *options)

    return command


@pytest.mark.alone  # a browser reloads its page's data when the host gets an address
def test_a_host_that_is_cut_off_for_a_while_changes_no_number() -> None:
    seed, begin = 3, int(time.time() * 1000) - 60_000
    truth = single(rounds(VIEWS, seed, begin=NOW - 60_000))
    with (
        Host(0) as here,
        Host(1) as there,
        Redis("0.0.0.0") as redis,
        Prometheus(address="0.0.0.0") as prometheus,
    ):

        def worker(host: Host, shell: str, name: str) -> WorkerProcess:
            settings = {
                "PROMETHEUS_URL": f"http://{host.outside}:{prometheus.port}/api/v1/write",
                "OPENQOE_KV_URL": redis.url_at(host.outside),
                "OPENQOE_KV_SYNC_INTERVAL": "1",
                "OPENQOE_FLUSH_INTERVAL": "1",
                "OPENQOE_DELIVERY_TIMEOUT": "2",
                "OPENQOE_INSTANCE": name,
            }
            return WorkerProcess(settings, command=served_on(host, shell), address=host.front)

        with worker(here, "asyncio", "here") as one, worker(there, "trio", "there") as other:
            clients = Clients(one, other)
            first, second, *rest = rounds(VIEWS, seed, begin)
            clients.send(first)
            there.unplug()
            clients.send(second)
            wait_until(
                lambda: other.metric("openqoe_worker_kv_ok") == 0, 20, "it to miss the store"
            )
            assert one.metric("openqoe_worker_kv_ok") == 1
            there.plug_in()
            wait_until(
                lambda: all(other.metric("openqoe_worker_kv_ok") == 1 for _ in range(8)),
                30,
                "it to have the store again",
            )
            for turn in rest:
                clients.send(turn)
                time.sleep(0.5)
            assert clients.refused == []
            assert one.stop(30) == 0, one.log_text()[-2000:]
            assert other.stop(30) == 0, other.log_text()[-2000:]
        assert differences(stored(prometheus), truth) == {}
        prometheus.assert_nothing_rejected(copies_allowed=True)

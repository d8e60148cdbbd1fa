"""Two hosts in separate networks count like one, even while one is cut off from the servers."""

import sys
import time
from collections.abc import Sequence

import pytest

from tests.support.event_builders import NOW
from tests.support.fleet_traffic import (
    Clients,
    count_with_one_worker,
    find_differences,
    make_rounds,
    read_stored_counts,
)
from tests.support.network_namespace import NetworkNamespace
from tests.support.prometheus_server import Prometheus
from tests.support.redis_server import Redis
from tests.support.services import wait_until
from tests.support.worker_process import Command, WorkerProcess

VIEWS = 200


def served_on(host: NetworkNamespace, shell: str) -> Command:
    """The command of two workers of a shell on a host."""

    def command(port: int) -> Sequence[str]:
        options = ("--shell", shell, "--host", "*", "--port", str(port), "--workers", "2")
        return host.command_inside(sys.executable, "-m", "openqoe.shells", "serve", *options)

    return command


@pytest.mark.alone  # browser tests reload their page when the machine gets a network address
def test_host_cut_off_within_patience_changes_no_number() -> None:
    seed, begin = 3, int(time.time() * 1000) - 60_000
    truth = count_with_one_worker(make_rounds(VIEWS, seed, begin=NOW - 60_000))
    with (
        NetworkNamespace(0) as here,
        NetworkNamespace(1) as there,
        Redis("0.0.0.0") as redis,
        Prometheus(address="0.0.0.0") as prometheus,
    ):

        def worker(host: NetworkNamespace, shell: str, name: str) -> WorkerProcess:
            settings = {
                "PROMETHEUS_URL": f"http://{host.outer_address}:{prometheus.port}/api/v1/write",
                "OPENQOE_KV_URL": redis.url_at(host.outer_address),
                "OPENQOE_KV_SYNC_INTERVAL": "1",
                "OPENQOE_FLUSH_INTERVAL": "1",
                "OPENQOE_DELIVERY_TIMEOUT": "2",
                "OPENQOE_INSTANCE": name,
            }
            return WorkerProcess(
                settings, command=served_on(host, shell), address=host.client_address
            )

        with worker(here, "asyncio", "here") as one, worker(there, "trio", "there") as other:
            clients = Clients(one, other)
            first, second, *rest = make_rounds(VIEWS, seed, begin)
            clients.send(first)
            there.disconnect()
            clients.send(second)
            wait_until(
                lambda: other.read_metric("openqoe_worker_kv_ok") == 0, 20, "it to miss the store"
            )
            assert one.read_metric("openqoe_worker_kv_ok") == 1
            there.reconnect()
            wait_until(
                lambda: all(other.read_metric("openqoe_worker_kv_ok") == 1 for _ in range(8)),
                30,
                "it to have the store again",
            )
            for turn in rest:
                clients.send(turn)
                time.sleep(0.5)
            assert clients.refused == []
            assert one.stop(30) == 0, one.log_text()[-2000:]
            assert other.stop(30) == 0, other.log_text()[-2000:]
        assert find_differences(read_stored_counts(prometheus), truth) == {}
        prometheus.assert_nothing_rejected(copies_allowed=True)

"""The hosts under test, and workers in them."""

from collections.abc import Iterator

import pytest

from tests.support.hosts import HOSTS, Host
from tests.support.worker_process import WorkerProcess


@pytest.fixture(params=HOSTS, ids=[host.name for host in HOSTS], scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.param
    return found


OWN = [host for host in HOSTS if host.owns_http]


@pytest.fixture(params=OWN, ids=[host.name for host in OWN], scope="module")
def own_host(request: pytest.FixtureRequest) -> Host:
    """A host with the worker's own HTTP layer."""
    found: Host = request.param
    return found


LASTING = [host for host in HOSTS if host.keeps_alive]


@pytest.fixture(params=LASTING, ids=[host.name for host in LASTING], scope="module")
def lasting_worker(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """A worker whose connections serve more than one request."""
    host: Host = request.param
    with host.run() as worker:
        yield worker


SHORT = {"OPENQOE_REQUEST_TIMEOUT": "1", "OPENQOE_KEEP_ALIVE_TIMEOUT": "20"}


@pytest.fixture(scope="module")
def own_worker(own_host: Host) -> Iterator[WorkerProcess]:
    """A worker with short time-outs and its own HTTP layer."""
    with own_host.run(SHORT) as worker:
        yield worker


@pytest.fixture(scope="module")
def worker(host: Host) -> Iterator[WorkerProcess]:
    """A worker without a destination, shared by the tests of a module."""
    with host.run() as worker:
        yield worker

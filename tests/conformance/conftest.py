"""The hosts under test, and Loki and remote-write doubles for them."""

from collections.abc import Iterator

import pytest

from tests.support.hosts import HOSTS, Host
from tests.support.loki import LokiDouble
from tests.support.process import WorkerProcess
from tests.support.receiver import RemoteWriteDouble


@pytest.fixture(params=HOSTS, ids=[host.name for host in HOSTS], scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.param
    return found


@pytest.fixture(scope="module")
def worker(host: Host) -> Iterator[WorkerProcess]:
    """A worker with short time-outs and no destination, shared by a module's tests."""
    settings = {"OPENQOE_REQUEST_TIMEOUT": "1", "OPENQOE_KEEP_ALIVE_TIMEOUT": "20"}
    with host.run(settings) as worker:
        yield worker


@pytest.fixture
def receiver() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble() as double:
        yield double


@pytest.fixture
def loki() -> Iterator[LokiDouble]:
    with LokiDouble() as double:
        yield double

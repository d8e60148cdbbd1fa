"""Settings of the examples, with the doubles as destinations."""

from collections.abc import Mapping

import pytest

from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble


@pytest.fixture
def settings(receiver: RemoteWriteDouble, loki: LokiDouble) -> Mapping[str, str]:
    return {
        "PROMETHEUS_URL": receiver.write_url,
        "LOKI_URL": loki.push_url,
        "OPENQOE_FLUSH_INTERVAL": "0.3",
        "OPENQOE_DELIVERY_TIMEOUT": "0.5",
        "OPENQOE_SHUTDOWN_TIMEOUT": "5",
    }

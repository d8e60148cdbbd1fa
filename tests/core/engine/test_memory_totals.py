"""The sums of the memory bounds with the default settings."""

from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.payload_buffer import MAX_LOADED
from openqoe.core.engine.memory_bounds import bounds_with_key, bounds_without_key
from openqoe.dashboard.dashboard_api import MAX_CACHED_BYTES
from openqoe.embedded.sample_writer import (
    CACHED_BESIDES,
    CACHED_SERIES_BYTES,
    MAX_STREAMS_BYTES,
    MAX_VIDEOS_BYTES,
)

MIB = 1024 * 1024


def test_client_without_key_pins_at_most_256_mib() -> None:
    assert sum(bound.total for bound in bounds_without_key(Config())) <= 256 * MIB


def test_page_key_pins_at_most_512_mib_besides() -> None:
    assert sum(bound.total for bound in bounds_with_key(Config())) <= 512 * MIB


def sizes(**settings: str) -> dict[str, int]:
    return {b.what: b.total for b in bounds_with_key(Config.from_environment(settings))}


def test_caches_of_products_beside_the_core_are_part_of_the_sum() -> None:
    bounds = sizes()
    assert bounds["answers of the dashboard"] == MAX_CACHED_BYTES
    series = (Config().max_series + CACHED_BESIDES) * CACHED_SERIES_BYTES
    assert bounds["series cached by the embedded store"] == series
    assert bounds["streams and videos cached by it"] == MAX_STREAMS_BYTES + MAX_VIDEOS_BYTES


def test_embedded_store_that_is_not_used_needs_no_memory() -> None:
    remote = sizes(PROMETHEUS_URL="http://a", LOKI_URL="http://b")
    assert not [what for what in remote if "embedded" in what or "dashboard" in what]


def test_queues_without_an_outbox_hold_their_bodies_in_memory() -> None:
    what, settings = "bodies in the queue of each destination", {"OPENQOE_QUEUE_MAX_BYTES": "2048"}
    remote = {"PROMETHEUS_URL": "http://a", "LOKI_URL": "http://b", **settings}
    assert sizes(OPENQOE_DURABILITY="memory", **remote)[what] == 2 * 2048
    assert sizes(**remote)[what] == 2 * MAX_LOADED


def test_tenants_and_a_shared_store_have_their_bounds() -> None:
    more = sizes(OPENQOE_TENANT="{org_id}", OPENQOE_KV_URL="redis://a")
    assert {"tenants by organisation", "labels of concurrent views"} <= set(more)

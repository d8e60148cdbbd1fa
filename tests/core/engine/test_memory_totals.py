"""The sums of the memory bounds with the default settings."""

from openqoe.core.config.worker_config import Config
from openqoe.core.engine.memory_bounds import bounds_with_key, bounds_without_key
from openqoe.dashboard.dashboard_api import MAX_CACHED_BYTES

MIB = 1024 * 1024


def test_client_without_key_pins_at_most_256_mib() -> None:
    assert sum(bound.total for bound in bounds_without_key(Config())) <= 256 * MIB


def test_page_key_pins_at_most_512_mib_besides() -> None:
    assert sum(bound.total for bound in bounds_with_key(Config())) <= 512 * MIB


def test_dashboard_cache_is_part_of_the_sum() -> None:
    bounds = {bound.what: bound.total for bound in bounds_with_key(Config())}
    assert bounds["answers of the dashboard"] == MAX_CACHED_BYTES

"""The core counts the batches of simulated viewers exactly as the model expects."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.simulator import LARGE, Batch, Incident, Simulation
from tests.support.event_builders import NOW
from tests.support.rig import MINUTE, Rig
from tests.support.simulated_viewers import UNLIMITED_LABELS, assert_counted, send_simulation

INCIDENT = (Incident("cdn", MINUTE, 3 * MINUTE, 8 * MINUTE),)

SETTINGS: dict[str, Any] = {
    "OPENQOE_FLUSH_INTERVAL": "120",
    # Longer than any silence of a viewer; all views end within the time that tests let pass.
    "OPENQOE_VIEW_TIMEOUT": "120",
    "LOKI_URL": None,
}


def seen(rig: Rig) -> list[tuple[dict[str, str], float]]:
    return [
        (dict(labels), samples[-1][1])
        for labels, samples in rig.receiver.samples.items()
        if isinstance(samples[-1][1], float)
    ]


@settings(max_examples=2)
@given(seed=st.integers(0, 2**32))
def test_core_counts_exactly_the_truth_of_the_simulation(seed: int) -> None:
    """Of both SDKs and of CMCD; also with batches that are late, sent twice, out of order, or cut
    off within a stall."""
    rig = Rig(UNLIMITED_LABELS, **SETTINGS)
    simulation = Simulation(10, seed, NOW, INCIDENT, cmcd_viewers=8)
    truth, _ = send_simulation(rig, simulation, 260)
    rig.pass_time(5 * MINUTE)
    rig.close()
    truth.expire()
    assert_counted(truth.samples(), seen(rig))


def test_core_counts_exactly_the_truth_of_the_large_world() -> None:
    rig = Rig(UNLIMITED_LABELS, **SETTINGS)
    truth, _ = send_simulation(rig, Simulation(60, 4, NOW, (), LARGE), 120)
    rig.pass_time(5 * MINUTE)
    rig.close()
    truth.expire()
    assert len(truth.by("openqoe_events_total", "network_country")) > 40
    assert_counted(truth.samples(), seen(rig))


def test_silent_views_end_at_their_last_position() -> None:
    rig = Rig(UNLIMITED_LABELS, **SETTINGS)
    truth, _ = send_simulation(rig, Simulation(20, 3, NOW), 100)
    before = truth.total("openqoe_view_outcomes_total")
    rig.pass_time(5 * MINUTE)
    rig.close()
    truth.expire()
    assert truth.total("openqoe_view_outcomes_total") > before
    assert_counted(truth.samples(), seen(rig))


def test_some_batches_are_late_and_some_are_copies() -> None:
    rig = Rig(UNLIMITED_LABELS, OPENQOE_FLUSH_INTERVAL="600", LOKI_URL=None)
    _, sent = send_simulation(rig, Simulation(30, 1, NOW), 400)
    assert 0 < sum(batch.is_copy for batch in sent) < len(sent) / 10
    assert 0 < sum(batch.is_late for batch in sent) < len(sent) / 10
    assert newest_last(sent)


def newest_last(batches: list[Batch]) -> bool:
    times = [batch.at for batch in batches]
    return times == sorted(times)

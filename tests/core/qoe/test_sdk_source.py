"""The SDKs as a source: signals of the recorded events."""

from itertools import groupby

import msgspec
import pytest

from openqoe.core.events.event_types import Event
from openqoe.core.qoe.sources import sdk
from tests.support import captures


@pytest.mark.parametrize("name", captures.NAMES)
def test_events_of_one_player_and_video_give_the_signals_of_each(name: str) -> None:
    for request in captures.load(name).requests:
        if request.method != "POST":
            continue
        events = msgspec.json.decode(request.body, type=dict[str, list[Event]])["events"]
        for _, run in groupby(events, lambda event: (event.player, event.video)):
            together = list(run)
            each = [signal for event in together for signal in sdk.signals_of(event)]
            assert sdk.signals_of_run(together) == each

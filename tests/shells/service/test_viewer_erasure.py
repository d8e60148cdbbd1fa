"""Erasure of a viewer by the workers of other slots."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openqoe.core.http.messages import Response
from openqoe.shells.net.peer_link import Answer, PeerLink
from openqoe.shells.service import viewer_erasure
from openqoe.shells.service.viewer_erasure import erase_in_slots
from openqoe.shells.storage import Slot, Slots
from tests.support.event_loops import AsyncioLoop

STEPS = b'[["data directory", true, "rewritten"]]'


class Owner:
    """The owner of a slot that answers requests for an erasure."""

    def __init__(self, slots: Slots, handle: Callable[[bytes, Answer], None]) -> None:
        self._slot: Slot = slots.claim()
        self._loop = AsyncioLoop()
        self._link = PeerLink(self._slot)
        self._loop.call(lambda: self._link.start(self._loop.events, lambda *_: None, handle))

    def close(self) -> None:
        self._loop.call(self._link.close)
        self._loop.close()
        self._slot.release()


def test_workers_that_do_not_answer_are_incomplete_and_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_erasure, "FORWARD_TIMEOUT", 0.2)
    slots, asked = Slots(tmp_path), []

    def erase(_: bytes, answer: Answer) -> None:
        asked.append("erases")
        answer(Response(200, body=b"[]" if len(asked) < 2 else STEPS))

    owners = [
        Owner(slots, erase),
        Owner(slots, lambda *_: None),
        Owner(slots, lambda _, answer: answer(Response(503))),
    ]
    slots.claim().release()  # a fourth one, which is empty and has no worker
    steps = {step.place: step for step in erase_in_slots(slots, range(4), "acme", ("jane",))}
    for owner in owners:
        owner.close()
    assert asked == ["erases", "erases"]
    complete = {place for place, step in steps.items() if step.is_complete}
    assert complete == {"slot-0", "slot-3"}
    assert "(timed out)" in steps["slot-1"].result
    assert "(it answered with 503)" in steps["slot-2"].result

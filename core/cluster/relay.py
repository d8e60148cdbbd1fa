"""The relay: a request whose views belong to another worker is passed to that one as it came.

The owner handles it as if a client had sent it, and its answer is passed back. So the batch is
decoded, journalled and applied by one worker only, and not by two, as a forwarded one is.

It is a shortcut that may fail. The owner of a request follows from its first view id, which is
found without decoding the events: an owner that finds events of others among them forwards those. A
request that the owner does not accept soon is handled here, and the owner refuses it from then on.
If the owner has accepted it before and answers late, it knows the batch by its digest when it is
forwarded.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ..access.key_ring import Grant
from ..effects import Forward, HttpResult, Result
from ..events.batch import OpenRequest
from ..http.messages import Request, Response
from .forwarding import Forwarding, slot_name

PATIENCE: Final = 500
"""ms after which requests that wait for their owners are handled here. It is checked as often, so a
request may wait for twice as long."""

MAX_BYTES: Final = 2 * 1024 * 1024
"""Bytes of bodies on their way, about: further requests are handled here."""


class RelayedRequest(msgspec.Struct, frozen=True, tag="request"):
    """A request on its way to the owner of its views. The answer to it holds the response.

    Attributes:
        request: The request.
        at: When it was relayed, ms.
    """

    request: Request
    at: int

    def is_late(self, now: int) -> bool:
        """Whether its receiver has handled it, or is about to: workers of a host have one clock.

        An owner that was stopped for a while finds many of these when it goes on.
        """
        return now >= self.at + PATIENCE


_encode = msgspec.msgpack.Encoder().encode
_decode_response = msgspec.msgpack.Decoder(Response).decode


def encode_request(request: Request, now: int) -> bytes:
    """Return the body of a ``Forward`` that relays a request; see ``Worker.handle_peer``."""
    return _encode(RelayedRequest(request, now))


def encode_response(response: Response) -> Response:
    """Return the answer to a ``RelayedRequest``."""
    return Response(200, body=_encode(response))


class WaitingRequest(NamedTuple):
    """A request that waits for the owner of its views.

    Attributes:
        opened: The request.
        grant: The key that permits it.
        since: When it was relayed, ms.
    """

    opened: OpenRequest
    grant: Grant
    since: int


class _Relayed:
    """A request that was relayed and has no result yet."""

    __slots__ = ("size", "slot", "waiting")

    def __init__(self, slot: int, waiting: WaitingRequest) -> None:
        self.slot = slot
        self.size = len(waiting.opened.request.body)
        self.waiting: WaitingRequest | None = waiting  # None once it was handled here


class Relay:
    """The requests that wait for their owners.

    Args:
        forwarding: Knows the partition, and which owners can be reached.

    Attributes:
        next_poll: When to call ``take_overdue``, ms; None while nothing waits.
    """

    def __init__(self, forwarding: Forwarding) -> None:
        self.next_poll: int | None = None
        self._forwarding = forwarding
        self._relayed: dict[int, _Relayed] = {}  # by effect, oldest first
        self._slow: Counter[int] = Counter()  # requests that were handled here instead, by slot
        self._bytes = 0

    def owner_of(self, view_id: str | None) -> int | None:
        """Return the slot to relay a request to, by its first view id; None if it is to be handled
        here."""
        if view_id is None or self._bytes >= MAX_BYTES:
            return None
        partition = self._forwarding.partition
        owner = partition.owner_of(view_id)
        if owner == partition.own or self._slow[owner] or not self._forwarding.is_reachable(owner):
            return None
        return owner

    def send(
        self, effect_id: int, slot: int, opened: OpenRequest, grant: Grant, now: int
    ) -> Forward:
        """Return the effect that relays a request, which waits from now on."""
        relayed = self._relayed[effect_id] = _Relayed(slot, WaitingRequest(opened, grant, now))
        self._bytes += relayed.size
        if self.next_poll is None:
            self.next_poll = now + PATIENCE
        return Forward(effect_id, slot_name(slot), "", (), encode_request(opened.request, now))

    def finish(self, effect_id: int) -> WaitingRequest | None:
        """Return the request of an effect that has a result; None if it waits no more."""
        relayed = self._relayed.pop(effect_id, None)
        if relayed is None:
            return None
        self._bytes -= relayed.size
        if relayed.waiting is None:
            self._slow[relayed.slot] -= 1
        return relayed.waiting

    def take_overdue(self, now: int | None = None) -> Sequence[WaitingRequest]:
        """Return the requests whose owners take too long, or all. They wait no more.

        Args:
            now: Current time in ms; None for all.
        """
        if now is not None and (self.next_poll is None or _has_time(self.next_poll, now)):
            return ()
        overdue, still_waits = [], False
        for relayed in self._relayed.values():
            if relayed.waiting is None:
                continue
            if now is None or not _has_time(relayed.waiting.since + PATIENCE, now):
                overdue.append(relayed.waiting)
                relayed.waiting = None
                self._slow[relayed.slot] += 1
            else:
                still_waits = True
        self.next_poll = now + PATIENCE if now is not None and still_waits else None
        return overdue


def _has_time(due: int, now: int) -> bool:
    """Whether a time has not come, and the clock was not set back since it was set."""
    return due - PATIENCE <= now < due


def read_response(result: Result) -> Response | None:
    """Return the response in the answer of an owner; None if the request is to be handled here.

    An owner that cannot accept it, for lack of a disk for example, refuses no client of others.
    """
    if not isinstance(result, HttpResult) or result.status != 200:
        return None
    try:
        response = _decode_response(result.body)
    except msgspec.DecodeError:
        return None
    return None if response.status == 503 else response

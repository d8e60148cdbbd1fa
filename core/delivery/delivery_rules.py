"""How payloads are delivered, by kind: one row for each."""

from dataclasses import dataclass
from typing import Literal

from ..config.destinations import Destination
from ..effects import Delivery, Forward, LokiPush, PayloadKind, RemoteWrite, StoreViews
from ..version import VERSION
from .payload import Payload

MAX_FORWARD_WAIT = 1_000
"""Maximum ms between two attempts to reach another worker of the host: it costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How the payloads of one kind are delivered.

    Attributes:
        effect: The effect that sends one.
        when_full: What a full queue does with its oldest payloads: ``drop`` them, ``thin`` them if
            there is an outbox, or ``keep`` them, since its owner offers no more.
        is_ordered: Whether they must arrive in order, so that none is set aside.
        is_repeated: Whether later payloads repeat their content. One that alone fails is dropped,
            because it cannot wait in quarantine: it would arrive after later ones. Payloads of one
            flush have no series in common, so only they may overtake each other.
        tolerated_rejections: Consecutive answers 400 that a destination which has accepted payloads
            gives to single payloads; as many, and it may reject everything.
        max_wait: Maximum ms between two attempts.
        reported_failures: Consecutive failures from which on they are reported.
        blocks_shutdown: Whether a stopping process waits for a destination that fails.
    """

    effect: type[Delivery]
    when_full: Literal["drop", "thin", "keep"] = "drop"
    is_ordered: bool = False
    is_repeated: bool = False
    tolerated_rejections: int = 0
    max_wait: int = 5 * 60_000
    reported_failures: int = 1
    blocks_shutdown: bool = True


RULES: dict[PayloadKind, DeliveryRules] = {
    "metrics": DeliveryRules(
        effect=RemoteWrite,
        when_full="thin",
        is_ordered=True,
        is_repeated=True,
        tolerated_rejections=3,
    ),
    "logs": DeliveryRules(effect=LokiPush),
    "views": DeliveryRules(effect=StoreViews),
    "batches": DeliveryRules(
        effect=Forward,
        when_full="keep",
        is_ordered=True,
        max_wait=MAX_FORWARD_WAIT,
        reported_failures=8,  # some seconds, in which a process is replaced as usual
        # Most often the other workers stop at the same time; the outbox keeps what they miss.
        blocks_shutdown=False,
    ),
}


_USER_AGENT = ("User-Agent", f"openqoe-worker/{VERSION}")


def build_request(destination: Destination, payload: Payload, effect_id: int) -> Delivery:
    """The request that sends a payload."""
    return RULES[payload.kind].effect(
        id=effect_id,
        destination=destination.name,
        url=destination.url,
        headers=(*payload.headers, *destination.headers, _USER_AGENT),
        body=payload.body,
        is_embedded=destination.is_embedded,
    )

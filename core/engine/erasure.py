"""Erasure of a viewer by ``POST /admin/erase``, while the workers of a host run.

The steps, in an order in which nothing can come back:

    forward    batches for other workers of the host go to them, for ``FORWARD_WAIT`` at the most
    slots      the workers of the other slots do these steps, without those of the last line
    forget     the ids are removed from live views, whose rows and snapshot would hold them
    flush      log entries go to their queues, the journal ends
    deliver    queues of logs and rows are sent, for ``MAX_WAIT`` at the most
    delete     the files of the outbox are rewritten
    delete     from the embedded store and from Loki

The answer lists what was done where. What a destination that is down has not received yet may hold
events of the viewer; that is listed as incomplete.

Another worker, or the command ``openqoe erase``, asks twice (``PeerErasure``): all workers first
forward, and only then does any of them go on. So no batch is on its way to one that has finished.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

import msgspec

from ..access.key_ring import Grant, KeyRing, Refusal
from ..api import answers, content
from ..config.worker_config import Config
from ..effects import (
    Effect,
    Erased,
    EraseInSlots,
    EraseViewer,
    ErasureStep,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Result,
    RewriteStorage,
    Stored,
)
from ..events.batch import OpenRequest
from ..governance.dimension import label_for_value, overflow_label
from ..http.messages import Response
from ..primitives.timer import earliest
from ..privacy.event_fields import EventFields
from ..privacy.viewer_erasure import loki_deletions, loki_step, metrics_step, viewer_forms
from ..qoe.labeller import label_text
from ..qoe.view_rows import row_text
from .components import Components
from .flush import FlushScheduler

MAX_WAIT: Final = 10_000
"""ms that the flush and the delivery of what waits may take."""

FORWARD_WAIT: Final = 2_000
"""ms that forwarding may take: one worker may be away."""

MAX_BODY: Final = 64 * 1024

MAX_ID: Final = 4096
"""Maximum characters of an id."""

SLOT: Final = "data directory"
"""The place of journal, snapshot and outbox."""

EMBEDDED: Final = "embedded store"
OTHER_SLOTS: Final = "other slots"


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    org_id: str
    viewer_id: str


class PeerErasure(msgspec.Struct, frozen=True, tag="erasure"):
    """The request of another worker of the host, or of a command, to take part in an erasure.

    Attributes:
        org_id: The viewer's organisation.
        viewer_ids: The forms in which the viewer's id may be stored.
        only_forward: Whether only the first step is asked for.
    """

    org_id: str
    viewer_ids: tuple[str, ...]
    only_forward: bool


def stored_forms(fields: EventFields, org_id: str, viewer_id: str) -> tuple[str, ...]:
    """Return the ids under which a viewer may be stored: as sent, hashed, and cut.

    Args:
        fields: The rules for members of events.
        org_id: The viewer's organisation.
        viewer_id: The viewer's id, as pages send it.
    """
    forms = viewer_forms(fields, org_id, viewer_id)
    cut = (text for form in forms for text in (label_text(form), row_text(form)) if text)
    return tuple(dict.fromkeys((*forms, *cut)))


def org_labels(config: Config, org_id: str) -> tuple[str | None, ...]:
    """Return the labels that log streams of an organisation may have; None for none.

    Past the limit of ``org_id`` it shares a label with others.
    """
    limit = config.cardinality_limits["org_id"]
    value = label_text(org_id)
    labels = [label_for_value(value, limit)]
    if limit.action == "allow" and limit.max_cardinality is not None:
        labels.append(overflow_label(value))
    return tuple(labels)


def encode_request(org_id: str, viewer_ids: tuple[str, ...], *, only_forward: bool) -> bytes:
    """Encode a request to the worker of a slot, for ``Worker.handle_peer``."""
    return msgspec.msgpack.encode(PeerErasure(org_id, viewer_ids, only_forward))


def decode_steps(body: bytes, slot: str) -> list[ErasureStep]:
    """Decode the answer of the worker of a slot, with the slot in the places.

    Args:
        body: The body of its answer with status 200.
        slot: Name of the slot.

    Raises:
        msgspec.DecodeError: It is no such answer.
    """
    steps = msgspec.json.decode(body, type=list[ErasureStep])
    return [
        step._replace(place=slot if step.place == SLOT else f"{slot}: {step.place}")
        for step in steps
    ]


class _Stage(Enum):
    FORWARDING = auto()
    IN_SLOTS = auto()
    FLUSHING = auto()
    DELETING = auto()


@dataclass(eq=False)
class _Erasure:
    """An erasure under way; ``opened`` is None if a worker or a command of the host asks."""

    request_id: int
    opened: OpenRequest | None
    org_id: str
    forms: tuple[str, ...]
    stage: _Stage
    began_at: int  # of the stage, ms
    last_record: int  # in the journal when the stage began
    only_forward: bool = False
    forwarded_at: int | None = None  # when batches went to the queues of the other slots
    flushes: int | None = None  # begun before the one that it waits for
    flushed_at: int | None = None  # after which later events are flushed
    is_slot_clean: bool = False  # neither journal nor outbox holds events of the viewer
    pending: dict[int, str] = field(default_factory=dict)  # places, by effect
    steps: list[ErasureStep] = field(default_factory=list)

    @property
    def deadline(self) -> int | None:
        """When to stop waiting, ms; None while an effect is waited for."""
        if self.stage is _Stage.FORWARDING:
            return self.began_at + FORWARD_WAIT
        return self.began_at + MAX_WAIT if self.stage is _Stage.FLUSHING else None


class ErasureAnswer(NamedTuple):
    """The answer to a request for an erasure; without ``opened`` to one of ``handle_peer``."""

    request_id: int
    opened: OpenRequest | None
    response: Response


class Erasures:
    """Erases viewers: one at a time for clients, and beside it for other workers."""

    def __init__(
        self,
        components: Components,
        flushes: FlushScheduler,
        ring: KeyRing,
        *,
        has_files: bool,
    ) -> None:
        """
        Args:
            components: The worker's components.
            flushes: Makes the flush.
            ring: The keys, which name tenants.
            has_files: Whether the shell executes ``EraseViewer`` and ``EraseInSlots``.
        """
        self._components = components
        self._flushes = flushes
        self._ring = ring
        self._has_files = has_files
        self._running: list[_Erasure] = []
        self._answers: list[ErasureAnswer] = []

    def begin(self, opened: OpenRequest, grant: Grant, now: int) -> Response | None:
        """Begin the erasure that a request asks for; returns an answer if it cannot."""
        try:
            body = content.decode_body(opened.request, MAX_BODY, MAX_BODY)
            asked = msgspec.json.decode(body, type=_Asked)
        except content.RefusedContentError as refused:
            return answers.error_response(refused.status, str(refused))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return answers.error_response(400, f"Send org_id and viewer_id as JSON: {error}")
        if not 0 < len(asked.org_id) <= MAX_ID or not 0 < len(asked.viewer_id) <= MAX_ID:
            return answers.error_response(400, "org_id or viewer_id is empty or too long")
        if grant.orgs is not None and asked.org_id not in grant.orgs:
            return answers.forbidden(Refusal.OTHER_ORG)
        if any(erasure.opened is not None for erasure in self._running):
            return answers.unavailable("Another erasure is running", answers.RETRY_AFTER_S)
        forms = stored_forms(self._components.privacy.fields, asked.org_id, asked.viewer_id)
        self._begin(opened.id, opened, asked.org_id, forms, _Stage.FORWARDING, now)
        return None

    def begin_for_peer(self, request_id: int, asked: PeerErasure, now: int) -> None:
        """Begin what another worker of the host, or a command, asks for."""
        stage = _Stage.FORWARDING if asked.only_forward else _Stage.FLUSHING
        erasure = self._begin(request_id, None, asked.org_id, asked.viewer_ids, stage, now)
        erasure.only_forward = asked.only_forward

    def _begin(
        self,
        request_id: int,
        opened: OpenRequest | None,
        org_id: str,
        forms: tuple[str, ...],
        stage: _Stage,
        now: int,
    ) -> _Erasure:
        erasure = _Erasure(request_id, opened, org_id, forms, stage, now, self._last_record)
        self._running.append(erasure)
        return erasure

    @property
    def _last_record(self) -> int:
        durability = self._components.durability
        return 0 if durability is None else durability.last_record

    @property
    def is_running(self) -> bool:
        """Whether an erasure is under way."""
        return bool(self._running)

    @property
    def next_poll(self) -> int | None:
        """When to stop waiting for a flush or a delivery, ms; None without one."""
        return earliest(erasure.deadline for erasure in self._running) if self._running else None

    def advance(self, now: int) -> list[Effect]:
        """Return the effects that are due now."""
        effects: list[Effect] = []
        for erasure in tuple(self._running):
            erasure.began_at = min(erasure.began_at, now)  # the clock may have been set back
            if erasure.stage is _Stage.FORWARDING:
                effects += self._forward(erasure, now)
            if erasure.stage is _Stage.FLUSHING:
                effects += self._flush(erasure, now)
        return effects

    # Other slots

    def _forward(self, erasure: _Erasure, now: int) -> list[Effect]:
        if erasure.forwarded_at is None and self._is_applied(erasure):
            if self._components.forwarding is not None:
                self._components.forwarding.forward_all(now)
            erasure.forwarded_at = now
        has_forwarded = erasure.forwarded_at is not None and not self._waiting_items(
            ("batches",), erasure.forwarded_at
        )
        if not has_forwarded and now < erasure.began_at + FORWARD_WAIT:
            return []
        if erasure.only_forward:
            self._finish(erasure)
            return []
        if not self._has_files or self._components.durability is None:
            self._begin_flushing(erasure, now)
            return []
        erasure.stage = _Stage.IN_SLOTS
        effect = EraseInSlots(self._components.ids.issue(), erasure.org_id, erasure.forms)
        erasure.pending[effect.id] = OTHER_SLOTS
        return [effect]

    def _is_applied(self, erasure: _Erasure) -> bool:
        """Whether all batches that were accepted before are applied."""
        unapplied = self._components.queue.first_unapplied
        return unapplied is None or unapplied > erasure.last_record

    def _begin_flushing(self, erasure: _Erasure, now: int) -> None:
        erasure.stage = _Stage.FLUSHING
        erasure.began_at, erasure.last_record = now, self._last_record

    # This slot

    def _flush(self, erasure: _Erasure, now: int) -> list[Effect]:
        if erasure.flushes is None and self._flushes.is_idle:
            # All batches are applied: later ones are of later events.
            views = self._components.applier.recorder.views
            views.forget_viewer(erasure.org_id, erasure.forms)
            erasure.flushes = self._flushes.begun
            self._flushes.make_due()
        if erasure.flushed_at is None and self._has_begun_flush(erasure):
            erasure.flushed_at = now
        if not self._is_delivered(erasure) and now < erasure.began_at + MAX_WAIT:
            return []
        return self._delete(erasure, now)

    def _has_begun_flush(self, erasure: _Erasure) -> bool:
        return erasure.flushes is not None and self._flushes.begun != erasure.flushes

    def _is_flushed(self, erasure: _Erasure) -> bool:
        if not self._has_begun_flush(erasure):
            return False
        if self._components.durability is not None:
            if not self._is_applied(erasure):
                return False  # it waits for the shared store
            if self._components.durability.is_busy:
                return False
        return not self._flushes.is_working

    def _is_delivered(self, erasure: _Erasure) -> bool:
        return self._is_flushed(erasure) and not self._waiting_steps(erasure)

    def _waiting_items(self, kinds: tuple[str, ...], until: int | None) -> dict[str, int]:
        """Items that wait for delivery, by destination: of payloads up to a time, or of all."""
        found = {}
        for group in self._components.delivery.groups:
            if group.kind in kinds:
                items = sum(
                    payload.items
                    for queue in group
                    for payload in queue.waiting
                    if until is None or payload.created <= until
                )
                if items:
                    found[group.destination.name] = items
        return found

    def _waiting_steps(self, erasure: _Erasure) -> list[ErasureStep]:
        waiting = self._waiting_items(("logs", "views", "batches"), erasure.flushed_at)
        text = (
            "items wait for delivery and may hold events of the viewer; "
            "erase again once they are delivered"
        )
        return [
            ErasureStep(f"queue of {name}", False, f"{items} {text}")
            for name, items in waiting.items()
        ]

    def _delete(self, erasure: _Erasure, now: int) -> list[Effect]:
        components = self._components
        erasure.stage = _Stage.DELETING
        if not self._is_flushed(erasure):
            text = "the latest events could not be flushed and may hold events of the viewer"
            erasure.steps.append(ErasureStep(SLOT, False, text))
        waiting = self._waiting_steps(erasure)
        erasure.steps += waiting
        erasure.is_slot_clean = self._is_flushed(erasure) and not waiting
        effects: list[Effect] = []

        def add(place: str, effect: EraseViewer | RewriteStorage | LokiPush) -> None:
            erasure.pending[effect.id] = place
            effects.append(effect)

        if components.durability is not None:
            add(SLOT, RewriteStorage(components.ids.issue()))
        if erasure.opened is not None:
            if self._has_files:
                erase = EraseViewer(components.ids.issue(), erasure.org_id, erasure.forms)
                add(EMBEDDED, erase)
            for one in loki_deletions(
                components.config,
                self._ring.tenants,
                erasure.org_id,
                org_labels(components.config, erasure.org_id),
                erasure.forms,
                now,
            ):
                if isinstance(one, ErasureStep):
                    erasure.steps.append(one)
                else:
                    request = LokiPush(
                        components.ids.issue(), one.destination, one.url, one.headers, one.body
                    )
                    add(one.destination, request)
        if not erasure.pending:
            self._finish(erasure)
        return effects

    def complete(self, effect_id: int, result: Result, now: int) -> None:
        """Process the result of an effect; ignores those of others."""
        for erasure in self._running:
            if effect_id in erasure.pending:
                break
        else:
            return
        place = erasure.pending.pop(effect_id)
        match result:
            case Erased():
                erasure.steps += result.steps
            case HttpResult() | NetworkFailure() if place not in (EMBEDDED, OTHER_SLOTS):
                erasure.steps.append(loki_step(place, result))
            case Stored():
                text = "journal, snapshot and outbox are without the viewer's events, and rewritten"
                if not erasure.is_slot_clean:
                    text = "rewritten, with what still waits"
                erasure.steps.append(ErasureStep(place, erasure.is_slot_clean, text))
            case _:
                reason = getattr(result, "reason", type(result).__name__)
                erasure.steps.append(ErasureStep(place, False, f"failed: {reason}"))
        if erasure.stage is _Stage.IN_SLOTS:
            self._begin_flushing(erasure, now)
        elif not erasure.pending:
            self._finish(erasure)

    # Answers

    def _finish(self, erasure: _Erasure) -> None:
        if erasure.opened is None:
            response = Response(200, (), msgspec.json.encode(erasure.steps))
        else:
            # One place may be asked several times.
            steps = dict.fromkeys((*erasure.steps, metrics_step(self._components.config)))
            listed = [step._asdict() for step in steps]
            is_complete = all(step.is_complete for step in steps)
            answer = {"success": True, "is_complete": is_complete, "steps": listed}
            response = answers.json_response(200, answer)
        self._answer(erasure, response)

    def _answer(self, erasure: _Erasure, response: Response) -> None:
        self._running.remove(erasure)
        self._answers.append(ErasureAnswer(erasure.request_id, erasure.opened, response))

    def abort(self) -> None:
        """Answer the requests that are open: the worker stops."""
        for erasure in tuple(self._running):
            response = answers.unavailable("Shutting down", answers.RETRY_AFTER_S)
            self._answer(erasure, response)

    def drain_answers(self) -> list[ErasureAnswer]:
        """Return the answers since the last call."""
        if not self._answers:
            return []
        drained, self._answers = self._answers, []
        return drained

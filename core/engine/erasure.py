"""Erasure of a viewer by ``POST /admin/erase``, while the worker runs.

The steps, in an order in which nothing can come back:

    forget     the ids are removed from live views, whose rows and snapshot would hold them
    flush      log entries go to their queues, the journal ends
    deliver    queues of logs and rows are sent, for ``MAX_WAIT`` at the most
    delete     from the embedded store and from Loki; the files of the outbox are rewritten

The answer lists what was done where. What a destination that is down has not received yet may hold
events of the viewer; that is listed as incomplete.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from ..access.key_ring import Grant, KeyRing, Refusal
from ..api import answers, content
from ..effects import (
    Effect,
    Erased,
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
from ..http.messages import Response
from ..privacy.viewer_erasure import loki_deletions, loki_step, metrics_step, viewer_forms
from .components import Components
from .flush import FlushScheduler

MAX_WAIT: Final = 10_000
"""ms that the flush and the delivery of what waits may take."""

MAX_BODY: Final = 64 * 1024

MAX_ID: Final = 4096
"""Maximum characters of an id."""

SLOT: Final = "data directory"
"""The place of journal, snapshot and outbox."""


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    org_id: str
    viewer_id: str


@dataclass
class _Erasure:
    opened: OpenRequest
    org_id: str
    forms: tuple[str, ...]
    began_at: int
    last_record: int  # in the journal when it began
    flushes: int | None = None  # begun before the one that it waits for
    is_deleting: bool = False
    pending: dict[int, str] = field(default_factory=dict)  # places, by effect
    steps: list[ErasureStep] = field(default_factory=list)


class Erasures:
    """Erases viewers, one at a time."""

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
            has_files: Whether the shell executes ``EraseViewer``.
        """
        self._components = components
        self._flushes = flushes
        self._ring = ring
        self._has_files = has_files
        self._erasure: _Erasure | None = None
        self._answers: list[tuple[OpenRequest, Response]] = []

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
        if self._erasure is not None:
            return answers.unavailable("Another erasure is running", answers.RETRY_AFTER_S)
        forms = viewer_forms(self._components.privacy.fields, asked.org_id, asked.viewer_id)
        durability = self._components.durability
        last_record = 0 if durability is None else durability.last_record
        self._erasure = _Erasure(opened, asked.org_id, forms, now, last_record)
        return None

    @property
    def next_poll(self) -> int | None:
        """When to stop waiting for a flush or a delivery, ms; None without one."""
        erasure = self._erasure
        if erasure is None or erasure.is_deleting:
            return None
        return erasure.began_at + MAX_WAIT

    def advance(self, now: int) -> list[Effect]:
        """Return the effects that are due now."""
        erasure = self._erasure
        if erasure is None or erasure.is_deleting:
            return []
        erasure.began_at = min(erasure.began_at, now)  # the clock may have been set back
        if erasure.flushes is None and self._flushes.is_idle:
            # All batches are applied: later ones are of later events.
            views = self._components.applier.recorder.views
            views.forget_viewer(erasure.org_id, erasure.forms)
            erasure.flushes = self._flushes.begun
            self._flushes.make_due()
        if not self._is_delivered(erasure) and now < erasure.began_at + MAX_WAIT:
            return []
        return self._delete(erasure, now)

    def _is_flushed(self, erasure: _Erasure) -> bool:
        if erasure.flushes is None or self._flushes.begun == erasure.flushes:
            return False
        if self._components.durability is not None:
            unapplied = self._components.queue.first_unapplied
            if unapplied is not None and unapplied <= erasure.last_record:
                return False  # it waits for the shared store
            if self._components.durability.is_busy:
                return False
        return not self._flushes.is_working

    def _is_delivered(self, erasure: _Erasure) -> bool:
        return self._is_flushed(erasure) and not self._waiting_steps()

    def _waiting_steps(self) -> list[ErasureStep]:
        steps = []
        for group in self._components.export.groups:
            items = (
                0
                if group.kind == "metrics"
                else sum(payload.items for queue in group for payload in queue.waiting)
            )
            if items:
                text = (
                    f"{items} items wait for delivery and may hold events of the viewer; "
                    "erase again once they are delivered"
                )
                steps.append(ErasureStep(f"queue of {group.destination.name}", False, text))
        return steps

    def _delete(self, erasure: _Erasure, now: int) -> list[Effect]:
        components = self._components
        erasure.is_deleting = True
        if not self._is_flushed(erasure):
            text = "the latest events could not be flushed and may hold events of the viewer"
            erasure.steps.append(ErasureStep(SLOT, False, text))
        erasure.steps += self._waiting_steps()
        effects: list[Effect] = []

        def add(place: str, effect: EraseViewer | RewriteStorage | LokiPush) -> None:
            erasure.pending[effect.id] = place
            effects.append(effect)

        if components.durability is not None:
            add(SLOT, RewriteStorage(components.ids.issue()))
        if self._has_files:
            erase = EraseViewer(components.ids.issue(), erasure.org_id, erasure.forms)
            add("embedded store", erase)
        for one in loki_deletions(
            components.config, self._ring.tenants, erasure.org_id, erasure.forms, now
        ):
            if isinstance(one, ErasureStep):
                erasure.steps.append(one)
            else:
                request = LokiPush(
                    components.ids.issue(), one.destination, one.url, one.headers, one.body
                )
                add(one.destination, request)
        self._finish_if_done(erasure)
        return effects

    def complete(self, effect_id: int, result: Result) -> None:
        """Process the result of an effect; ignores those of others."""
        erasure = self._erasure
        if erasure is None or effect_id not in erasure.pending:
            return
        place = erasure.pending.pop(effect_id)
        match result:
            case Erased():
                erasure.steps += result.steps
            case HttpResult() | NetworkFailure() if place != "embedded store":
                erasure.steps.append(loki_step(place, result))
            case Stored():
                text = "journal, snapshot and outbox are without the viewer's events, and rewritten"
                erasure.steps.append(ErasureStep(place, True, text))
            case _:
                reason = getattr(result, "reason", type(result).__name__)
                erasure.steps.append(ErasureStep(place, False, f"failed: {reason}"))
        self._finish_if_done(erasure)

    def _finish_if_done(self, erasure: _Erasure) -> None:
        if erasure.pending:
            return
        steps = [*erasure.steps, metrics_step(self._components.config)]
        listed = [step._asdict() for step in steps]
        is_complete = all(step.is_complete for step in steps)
        answer = {"success": True, "is_complete": is_complete, "steps": listed}
        self._answers.append((erasure.opened, answers.json_response(200, answer, answers.NO_STORE)))
        self._erasure = None

    def abort(self) -> None:
        """Answer the request that is open: the worker stops."""
        if self._erasure is not None:
            response = answers.unavailable("Shutting down", answers.RETRY_AFTER_S)
            self._answers.append((self._erasure.opened, response))
            self._erasure = None

    def drain_answers(self) -> list[tuple[OpenRequest, Response]]:
        """Return the answers since the last call."""
        if not self._answers:
            return []
        drained, self._answers = self._answers, []
        return drained

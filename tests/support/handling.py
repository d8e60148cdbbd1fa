"""Calls a worker as an embedder does, and separates the answer from the other effects."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from openqoe.core import Effect, Request, Respond, Response, Worker
from openqoe.core.effects import Result

_request_ids = count(1)


@dataclass(frozen=True)
class Handled:
    """The outcome of a call.

    Attributes:
        answers: The answers among its effects, by request id.
        effects: The other effects.
    """

    answers: dict[int, Response]
    effects: tuple[Effect, ...]

    @property
    def response(self) -> Response:
        """The only answer."""
        (response,) = self.answers.values()
        return response


def separate(effects: Iterable[Effect]) -> Handled:
    """Separate answers from the other effects."""
    answers: dict[int, Response] = {}
    others: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Respond):
            assert effect.request_id not in answers, "a request was answered twice"
            answers[effect.request_id] = effect.response
        else:
            others.append(effect)
    return Handled(answers, tuple(others))


def handle(worker: Worker, request: Request, now: int) -> Handled:
    """Let a worker handle a request."""
    return separate(worker.handle(next(_request_ids), request, now))


def complete(worker: Worker, effect_id: int, result: Result, now: int) -> Handled:
    """Give a worker the result of an effect."""
    return separate(worker.complete(effect_id, result, now))

"""The service of all shells: a fault in one effect does not stop the others."""

from collections.abc import Callable
from typing import Any

import pytest

from openqoe.core import Config, HttpResult, LokiPush, RemoteWrite, Response, Worker
from openqoe.shells.service import logs
from openqoe.shells.service.base_service import BaseService, Shutdown
from openqoe.shells.service.bootstrap import WorkerRuntime
from openqoe.shells.service.clock import now_ms
from tests.support.event_builders import event, post

CONFIG = Config(
    prometheus_url="http://p.test/write",
    loki_url="http://l.test/push",
    flush_interval=0,
    log_level="error",
)


class Service(BaseService):
    """Records its calls; cannot send to Prometheus while ``broken``."""

    def __init__(self) -> None:
        super().__init__(WorkerRuntime(Worker(CONFIG, instance="t")), logs.configure(CONFIG))
        self.broken = False
        self.sent: list[RemoteWrite | LokiPush] = []
        self.due: int | None = None

    def send(self, effect: RemoteWrite | LokiPush) -> None:
        if self.broken and isinstance(effect, RemoteWrite):
            raise RuntimeError("cannot start new thread")
        self.sent.append(effect)

    def wake_at(self, due: int | None) -> None:
        self.due = due


@pytest.fixture
def service() -> Service:
    return Service()


def raising(*_: Any) -> Any:
    raise RuntimeError("a fault")


def handle_event(service: Service) -> int:
    now = now_ms()
    answers: list[Response] = []
    service.handle(post(event("viewstart", at=now), now=now), answers.append)
    (answer,) = answers
    return answer.status


def test_effect_that_cannot_be_sent_is_retried(service: Service) -> None:
    service.broken = True
    assert handle_event(service) == 202
    assert [type(effect) for effect in service.sent] == [LokiPush]  # no other is affected
    assert service.due is not None
    service.broken = False
    due = service.due
    service.run(service.worker.poll(due))
    assert [type(effect) for effect in service.sent] == [LokiPush, RemoteWrite]


def test_failed_poll_schedules_the_next(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(service.worker, "poll", raising)
        service.poll()
    assert service.due is not None
    assert 0 < service.due - now_ms() <= 1000
    service.poll()


@pytest.mark.parametrize("method", ["complete", "close"])
def test_fault_of_worker_does_not_escape(
    service: Service, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle_event(service)
    monkeypatch.setattr(service.worker, method, raising)
    calls: dict[str, Callable[[], None]] = {
        "complete": lambda: service.complete(service.sent[0], HttpResult(204)),
        "close": lambda: service.flush_last(1.0),
    }
    calls[method]()
    assert service.closed == (method == "close")


def test_fault_while_handling_answers_500(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.worker, "handle", raising)
    assert handle_event(service) == 500


def test_request_after_last_flush_is_refused(service: Service) -> None:
    assert handle_event(service) == 202
    service.flush_last(1.0)
    sent = len(service.sent)
    assert handle_event(service) == 503
    assert len(service.sent) == sent


def test_requests_get_half_of_shutdown_timeout() -> None:
    shutdown = Shutdown(10_000)
    assert shutdown.for_requests == 5
    assert 9 < shutdown.remaining <= 10
    assert Shutdown(0).remaining == 0

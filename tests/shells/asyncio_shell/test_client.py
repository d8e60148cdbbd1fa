"""The client of the asyncio shell: each end of a request becomes a result."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

from openqoe.core import Config, HttpResult, NetworkFailure, RemoteWrite, Worker
from openqoe.shells.asyncio_shell.client import Client
from openqoe.shells.asyncio_shell.service import Service
from openqoe.shells.net.http_results import MAX_ANSWER
from openqoe.shells.service import logs
from openqoe.shells.service.bootstrap import WorkerRuntime
from openqoe.shells.service.clock import now_ms
from tests.support.event_builders import event, post


class MockedResponse(aiohttp.ClientResponse):
    """aiohttp 3.14 needs the writer of the request; aioresponses 0.7 has none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"stream_writer": Mock(), **kwargs})


def answer(mocked: aioresponses, **response: Any) -> None:
    """Script the next answer, or exception, of the destination."""
    mocked.post(URL, response_class=MockedResponse, **response)


URL = "http://mimir.test/api/v1/push"
EFFECT = RemoteWrite(1, "mimir", URL, (("X-Scope-OrgID", "t"),), b"body")


async def send(answers: Callable[[aioresponses], object]) -> HttpResult | NetworkFailure:
    with aioresponses() as mocked:
        answers(mocked)
        client = Client(timeout=1000)
        await client.open()
        try:
            return await client.send(EFFECT)
        finally:
            await client.close()


def run(answers: Callable[[aioresponses], object]) -> HttpResult | NetworkFailure:
    return asyncio.run(send(answers))


@pytest.mark.parametrize("status", [200, 204, 260, 301, 400, 401, 413, 429, 500, 529])
def test_answer_of_any_status_is_http_result(status: int) -> None:
    result = run(lambda mocked: answer(mocked, status=status, body="words"))
    assert isinstance(result, HttpResult)
    assert (result.status, result.body) == (status, b"words")


def test_header_names_are_lower_case() -> None:
    result = run(lambda mocked: answer(mocked, status=429, headers={"Retry-After": "7"}))
    assert isinstance(result, HttpResult)
    assert result.headers["retry-after"] == "7"


def test_long_answer_is_truncated() -> None:
    result = run(lambda mocked: answer(mocked, body=b"x" * 100_000))
    assert isinstance(result, HttpResult)
    assert len(result.body) <= MAX_ANSWER


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer within 1 s"),
        (aiohttp.ClientConnectionError("refused"), "refused"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (aiohttp.ClientPayloadError(), "ClientPayloadError"),
        (ConnectionResetError("reset by peer"), "reset by peer"),
        (OSError("no route to host"), "no route to host"),
    ],
)
def test_missing_answer_is_network_failure(error: Exception, reason: str) -> None:
    assert run(lambda mocked: answer(mocked, exception=error)) == NetworkFailure(reason)


@asynccontextmanager
async def service(log: logs.Log) -> AsyncIterator[Service]:
    config = Config(mimir_url=URL, flush_interval=0, shutdown_timeout=500)
    made = Service(WorkerRuntime(Worker(config, instance="t-0")), log)
    await made.start()
    try:
        yield made
    finally:
        await made.close(timeout=0.2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def deliver(answers: Callable[[aioresponses], None], log: logs.Log) -> tuple[int, bool]:
    """Ingest one event; return the number of requests sent and whether all is delivered."""

    async def scenario() -> tuple[int, bool]:
        with aioresponses() as mocked:
            answers(mocked)
            async with service(log) as running:
                now = now_ms()
                response = await running.answer(post(event("viewstart", at=now), now=now))
                assert response.status == 202
                await until(lambda: running.worker.drained)
                sent = sum(len(calls) for calls in mocked.requests.values())
                return sent, running.worker.drained

    return asyncio.run(scenario())


@pytest.fixture
def log() -> logs.Log:
    return logs.configure(Config(log_level="error"))


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        pytest.param([{"status": 500}, {"status": 204}], 2, id="500 then 204"),
        pytest.param([{"exception": TimeoutError()}, {"status": 200}], 2, id="time-out then 200"),
        pytest.param(
            [{"status": 429, "headers": {"Retry-After": "1"}}, {"status": 204}], 2, id="429"
        ),
        pytest.param(
            [
                {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}},
                {"status": 204},
            ],
            2,
            id="429 until a date that has passed",
        ),
        pytest.param([{"status": 415}], 1, id="415 is not repeated"),
        pytest.param(
            [{"status": 400, "body": "no tenant"}, {"status": 204}, {"status": 204}],
            3,
            id="400 before any delivery sends two halves",
        ),
        pytest.param(
            [{"status": 400, "body": "out of order"}], 1, id="400 for a sample is not repeated"
        ),
        pytest.param(
            [{"status": 413}, {"status": 204}, {"status": 204}], 3, id="413 sends two halves"
        ),
    ],
)
def test_payload_is_delivered_after_scripted_answers(
    answers: list[dict[str, Any]], requests: int, log: logs.Log
) -> None:
    def script(mocked: aioresponses) -> None:
        for one in answers:
            answer(mocked, **one)

    assert deliver(script, log) == (requests, True)


def test_closed_service_leaves_no_task(log: logs.Log) -> None:
    async def scenario() -> set[asyncio.Task[object]]:
        with aioresponses() as mocked:
            answer(mocked, exception=ConnectionError("refused"), repeat=True)
            async with service(log) as running:
                now = now_ms()
                await running.answer(post(event("viewstart", at=now), now=now))
        return asyncio.all_tasks() - {_current()}

    assert asyncio.run(scenario()) == set()


def _current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task

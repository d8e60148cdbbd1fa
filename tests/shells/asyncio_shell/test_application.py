"""The ASGI application without a host."""

import asyncio
import time
from typing import Any

import pytest

from openqoe.core import Config, Request, Response
from openqoe.shells.asyncio_shell import Application
from openqoe.shells.service.clock import now_ms
from tests.support.event_builders import batch, event


async def ask(
    application: Application, method: str = "GET", body: bytes = b"", **scope: Any
) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    whole = {"type": "http", "method": method, "path": "/health", "headers": [], **scope}
    await application(whole, receive, send)
    return sent[0]["status"], sent[1]["body"]


def test_request_after_close_is_refused() -> None:
    async def scenario() -> list[int]:
        application = Application(Config(log_level="error"))
        body = batch(event("viewstart", at=now_ms()))
        statuses = []
        for _ in range(2):
            status, _ = await ask(application, "POST", body, path="/v1/events")
            statuses.append(status)
            await application.close()
        return statuses

    assert asyncio.run(scenario()) == [202, 503]


def test_restarted_application_serves_again() -> None:
    async def scenario() -> int:
        application = Application(Config(log_level="error"))
        await application.start()
        await application.close()
        await application.start()
        status, _ = await ask(application)
        await application.close()
        return status

    assert asyncio.run(scenario()) == 200


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, "/a%20b"),
        ({"path": "/a/b", "raw_path": b"/a%2Fb?x=1"}, "/a%2Fb"),
        ({"path": "/a b"}, "/a%20b"),
        ({"path": "/a", "raw_path": None}, "/a"),
        ({"path": "/my qoe/a", "raw_path": b"/my%20qoe/a", "root_path": "/my qoe"}, "/a"),
    ],
)
def test_request_path_is_the_path_as_sent(
    scope: dict[str, Any], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def scenario() -> None:
        application = Application(Config(log_level="error"))
        service = await application.start()

        async def answer(request: Request) -> Response:
            seen.append(request.path)
            return Response(204)

        monkeypatch.setattr(service, "answer", answer)
        await ask(application, **scope)
        await application.close()

    asyncio.run(scenario())
    assert seen == [path]


@pytest.mark.parametrize(("turn", "clients", "expected"), [(0.03, 40, {202, 503}), (0.0, 4, {202})])
def test_requests_are_shed_while_turns_of_the_loop_last_too_long(
    turn: float, clients: int, expected: set[int]
) -> None:
    """Requests of few clients may be handled in the ms in which they arrive, without a queue."""
    config = Config(log_level="error", durability="memory", max_wait=20)
    seconds = 0.6

    async def scenario() -> set[int]:
        application = Application(config)
        await application.start()
        end = time.monotonic() + seconds
        statuses = set()

        async def keep_busy() -> None:
            while time.monotonic() < end:
                time.sleep(turn)
                await asyncio.sleep(0)

        async def post(number: int) -> None:
            while time.monotonic() < end:
                body = batch(event("seek", at=now_ms(), view_id=f"v{number}"))
                status, _ = await ask(application, "POST", body, path="/v1/events")
                statuses.add(status)

        await asyncio.gather(keep_busy(), *(post(number) for number in range(clients)))
        await application.close()
        return statuses

    assert asyncio.run(scenario()) == expected


def unfinished_post(pieces: list[bytes]) -> tuple[dict[str, Any], Any]:
    """Return the scope and ``receive`` of a request whose body never ends."""
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": []}
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": True}

    return scope, receive


def test_unfinished_body_is_answered_408_after_request_timeout() -> None:
    async def scenario() -> Any:
        application = Application(Config(log_level="error", request_timeout=1_000))
        await application.start()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(10):
            await application(*unfinished_post([b"x"]), send)
        await application.close()
        return sent[0]

    start = asyncio.run(scenario())
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]


def test_unfinished_bodies_beyond_budget_evict_the_oldest_with_503() -> None:
    async def scenario() -> tuple[list[int], int]:
        application = Application(Config(log_level="error", max_waiting_bytes=1_000_000))
        await application.start()
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if "status" in message:
                statuses.append(message["status"])

        tasks = []
        for _ in range(30):
            scope, receive = unfinished_post([b"x" * 50_000] * 2)
            tasks.append(asyncio.create_task(application(scope, receive, send)))
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        body = batch(event("viewstart", at=now_ms()))
        status, _ = await ask(application, "POST", body, path="/v1/events")
        assert tasks[0].done() and not tasks[-1].done()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await application.close()
        return statuses, status

    statuses, status = asyncio.run(scenario())
    assert len(statuses) >= 20 and set(statuses) == {503}
    assert status == 202

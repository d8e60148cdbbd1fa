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


@pytest.mark.parametrize(("turn", "expected"), [(0.03, {202, 503}), (0.0, {202})])
def test_requests_are_shed_while_turns_of_the_loop_last_too_long(
    turn: float, expected: set[int]
) -> None:
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

        await asyncio.gather(keep_busy(), *(post(number) for number in range(4)))
        await application.close()
        return statuses

    assert asyncio.run(scenario()) == expected

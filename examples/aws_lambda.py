"""The core in a serverless handler: an AWS Lambda function behind API Gateway or a function URL.

Lambda freezes the process between two invocations, so nothing can happen in the background:
the flush interval is 0, which makes each request that brought events flush, and the handler
sends the effects and hands their results back before it returns. A destination that is away
is tried again while time is left; what could not be delivered stays in the worker's memory and
goes out with the environment's next invocation, if there is one.

Deploy it with ``pip install openqoe-worker`` in the package, the handler
``aws_lambda.handler``, and the settings as environment variables (``PROMETHEUS_URL``,
``LOKI_URL``, ``API_KEY``). To see it work at your desk:

    PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write python examples/aws_lambda.py batch.json
"""

import json
import os
import secrets
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from openqoe.core import (
    Config,
    Effect,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    Request,
    Respond,
    Response,
    Result,
    Worker,
)
from openqoe.shells.service.clock import now_ms

BUDGET = 5_000
"""How long, in ms, an invocation may spend on deliveries: the player waits meanwhile."""

RESERVE = 500
"""Time, in ms, that is left to return the answer before Lambda ends the invocation."""

"""An environment serves one request at a time, so nothing is shared between requests."""


class Context(Protocol):
    """As much of Lambda's context object as is used here."""

    def get_remaining_time_in_millis(self) -> int: ...


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Answer one request (payload format 2.0)."""
    now = now_ms()
    deadline = now + min(BUDGET, context.get_remaining_time_in_millis() - RESERVE)
    answer, *effects = worker().handle(0, to_request(event, now), now)
    deliver(effects, deadline)
    assert isinstance(answer, Respond), "without a disk no answer has to wait"
    return from_response(answer.response)


@cache
def worker() -> Worker:
    """The worker of this execution environment.

    Lambda runs as many environments as there are requests at once, and each counts on its
    own. If two of them shared an ``instance`` label they would write one series, which would
    then jump back and forth between two totals. So the label is drawn at random, and at the
    first request rather than at import, since SnapStart starts many environments out of one
    image of a process that has done its imports.
    """
    identity = secrets.token_hex(6)
    config = Config.from_environment({**os.environ, "OPENQOE_FLUSH_INTERVAL": "0"})
    return Worker(config, instance=f"lambda-{identity}", seed=int(identity, 16))


def deliver(effects: Iterable[Effect], deadline: int) -> None:
    """Run effects and what follows from them, retries too, until all is done or time is up."""
    with ThreadPoolExecutor(2) as pool:  # a destination that hangs does not hold the other
        while True:
            running: dict[Future[Result], int] = {}
            for effect in effects:
                if isinstance(effect, Notice):
                    line = {"level": effect.level, "event": effect.event, **dict(effect.fields)}
                    print(json.dumps(line))
                elif isinstance(
                    effect, RemoteWrite | LokiPush
                ):  # it has no disk and shares nothing
                    running[pool.submit(perform, effect, deadline)] = effect.id
            following: list[Effect] = []
            for future in as_completed(running):
                following += worker().complete(running[future], future.result(), now_ms())
            if not following:
                due = worker().next_poll()
                if worker().drained or due is None or due >= deadline:
                    return
                time.sleep(max(0, due - now_ms()) / 1000)
                following += worker().poll(now_ms())
            effects = following


def perform(effect: RemoteWrite | LokiPush, deadline: int) -> Result:
    """Run one effect. Each gets a result, even if there is no time left to try."""
    timeout = (deadline - now_ms()) / 2000  # half to connect, half to answer
    if timeout <= 0:
        return NetworkFailure("no time left in this invocation")
    url = urlsplit(effect.url)
    target = f"{url.path or '/'}?{url.query}".removesuffix("?")
    connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
    try:
        with closing(connect(url.netloc, timeout=timeout)) as connection:
            connection.request("POST", target, effect.body, dict(effect.headers))
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return HttpResult(answer.status, headers, answer.read(8192))
    except (OSError, HTTPException, ValueError) as error:
        return NetworkFailure(str(error) or type(error).__name__)


def to_request(event: Mapping[str, Any], now: int) -> Request:
    """The event as a request. The stage begins the path, unless it is the default one."""
    context = event["requestContext"]
    body = event.get("body") or ""
    return Request(
        method=context["http"]["method"],
        path=event["rawPath"].removeprefix(f"/{context.get('stage', '$default')}"),
        query=event.get("rawQueryString", ""),
        headers={name.lower(): value for name, value in event.get("headers", {}).items()},
        body=b64decode(body) if event.get("isBase64Encoded") else body.encode(),
        first_byte_at=now,
    )


def from_response(response: Response) -> dict[str, Any]:
    """What Lambda wants returned. Base64 holds any body, text or not."""
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": b64encode(response.body).decode(),
        "isBase64Encoded": True,
    }


class Desk:
    """The context of an invocation that has ten seconds."""

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def main() -> None:
    """Post the batch in a file, as API Gateway would."""
    event = {
        "rawPath": "/v1/events",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST"}, "stage": "$default"},
        "body": Path(sys.argv[1]).read_text(encoding="utf-8"),
    }
    answer = handler(event, Desk())
    print(answer["statusCode"], b64decode(answer["body"]).decode())


if __name__ == "__main__":
    main()

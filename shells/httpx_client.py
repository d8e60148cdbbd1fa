"""Effects by httpx, on any runtime that httpx knows: Trio, asyncio."""

import anyio
import httpx

from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, RemoteWrite

MAX_ANSWER = 8192
"""Bytes of an answer that are read: enough for its words."""


class Client:
    """Sends effects to their destinations, with pooled connections.

    Args:
        timeout: How long a destination may take, in ms.
    """

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout / 1000
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Open the pool."""
        # httpx has a time-out for each step; ours is for the whole (see send).
        self._client = httpx.AsyncClient(timeout=None, follow_redirects=False)

    async def close(self) -> None:
        """Close the pool."""
        if self._client is not None:
            await self._client.aclose()

    async def send(self, effect: RemoteWrite | LokiPush) -> HttpResult | NetworkFailure:
        """Send one effect. Whatever goes wrong is a result, never an exception."""
        assert self._client is not None, "the client is not open"
        try:
            with anyio.fail_after(self._timeout):
                async with self._client.stream(
                    "POST", effect.url, content=effect.body, headers=effect.headers
                ) as response:
                    body = b""
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) >= MAX_ANSWER:
                            break
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return HttpResult(response.status_code, headers, body[:MAX_ANSWER])
        except TimeoutError:
            return NetworkFailure(f"no answer within {self._timeout:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            return NetworkFailure(str(error) or type(error).__name__)

"""HTTP requests to destinations on asyncio, with pooled connections."""

import aiohttp

from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, RemoteWrite

from ..net.http_results import MAX_ANSWER, network_failure, read_start, timeout_failure


class Client:
    """Sends effects to their destinations.

    Args:
        timeout: Time limit of a request, in ms.
    """

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout / 1000
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the pool."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            trust_env=True,  # HTTP_PROXY and NO_PROXY
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def send(self, effect: RemoteWrite | LokiPush) -> HttpResult | NetworkFailure:
        """Send one effect. A fault is a result, never an exception."""
        assert self._session is not None, "the client is not open"
        try:
            async with self._session.post(
                effect.url, data=effect.body, headers=effect.headers, allow_redirects=False
            ) as response:
                body = await read_start(response.content.iter_chunked(MAX_ANSWER))
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpResult(response.status, headers, body)
        except TimeoutError:
            return timeout_failure(self._timeout)
        # ValueError: the host or a header cannot be encoded.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return network_failure(error)

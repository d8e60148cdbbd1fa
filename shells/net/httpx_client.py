"""HTTP requests to destinations with httpx, on Trio or asyncio."""

import anyio
import httpx

from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, RemoteWrite

from .http_results import network_failure, read_start, timeout_failure


class Client:
    """Sends effects to their destinations, with pooled connections.

    Args:
        timeout: Time limit of a request, in ms.
    """

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout / 1000
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Open the pool."""
        # httpx limits the time of each step; ``send`` limits the whole.
        # Bodies are read as they come: a badly encoded one must not hide the status.
        self._client = httpx.AsyncClient(
            timeout=None, follow_redirects=False, headers={"Accept-Encoding": "identity"}
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._client is not None:
            await self._client.aclose()

    async def send(self, effect: RemoteWrite | LokiPush) -> HttpResult | NetworkFailure:
        """Send one effect. A fault is a result, never an exception."""
        assert self._client is not None, "the client is not open"
        answer: HttpResult | None = None
        try:
            with anyio.fail_after(self._timeout):
                async with self._client.stream(
                    "POST", effect.url, content=effect.body, headers=effect.headers
                ) as response:
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    answer = HttpResult(response.status_code, headers)
                    body = await read_start(response.aiter_raw())
                    return HttpResult(response.status_code, headers, body)
        except TimeoutError:
            return answer or timeout_failure(self._timeout)
        except httpx.ConnectError as error:
            return network_failure(_root_cause(error))
        # ValueError: a host or a header that cannot be encoded.
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            httpx.StreamError,
            OSError,
            ValueError,
        ) as error:
            return network_failure(error)


def _root_cause(error: BaseException) -> Exception:
    """The error of the operating system: httpx's own says only that connecting failed."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, BaseExceptionGroup):  # one for each address of the host
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error

"""HTTP requests to destinations with httpx, on Trio or asyncio."""

import anyio
import httpx

from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, RemoteWrite

from .connection_policy import ConnectionPolicy
from .http_results import (
    SUCCESS_BODY_S,
    is_success,
    network_failure,
    read_start,
    timeout_failure,
)

NO_LIMIT = httpx.Limits(max_connections=None, max_keepalive_connections=100)
"""Connections at a time: the core sends one request for each queue, and none may wait for those of
another tenant that time out."""


class Client:
    """Sends effects to their destinations, with pooled connections.

    Args:
        timeout: Time limit of a request, in ms.
        policy: Proxies and TLS; by default no proxy and the certificates of the system.
    """

    def __init__(self, timeout: int, policy: ConnectionPolicy | None = None) -> None:
        self._timeout = timeout / 1000
        self._policy = ConnectionPolicy() if policy is None else policy
        self._pools: dict[str | None, httpx.AsyncClient] = {}  # by proxy
        self._is_open = False

    async def open(self) -> None:
        """Open the client. Each proxy gets a pool with the first request that it is for."""
        self._is_open = True

    async def close(self) -> None:
        """Close the pools."""
        self._is_open = False
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()

    def _pool_for(self, url: str) -> httpx.AsyncClient:
        assert self._is_open, "the client is not open"
        proxy = self._policy.proxies.proxy_for(url)
        if proxy not in self._pools:
            self._pools[proxy] = httpx.AsyncClient(
                # httpx limits the time of each step; ``send`` limits the whole.
                timeout=None,
                follow_redirects=False,
                # Bodies are read as they come: a badly encoded one must not hide the status.
                headers={"Accept-Encoding": "identity"},
                trust_env=False,
                limits=NO_LIMIT,
                verify=self._policy.tls,
                proxy=None if proxy is None else proxy.replace("socks5h:", "socks5:", 1),
            )
        return self._pools[proxy]

    async def send(self, effect: RemoteWrite | LokiPush) -> HttpResult | NetworkFailure:
        """Send one effect. A fault is a result, never an exception."""
        answer: HttpResult | None = None
        try:
            pool = self._pool_for(effect.url)
            with anyio.fail_after(self._timeout):
                async with pool.stream(
                    "POST", effect.url, content=effect.body, headers=effect.headers
                ) as response:
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    answer = HttpResult(response.status_code, headers)
                    limit = SUCCESS_BODY_S if is_success(response.status_code) else None
                    with anyio.fail_after(limit):
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
            return answer or network_failure(error)


def _root_cause(error: BaseException) -> Exception:
    """The error of the operating system: httpx's own says only that connecting failed."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, BaseExceptionGroup):  # one for each address of the host
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error

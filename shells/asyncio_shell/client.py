"""HTTP requests to destinations on asyncio, with pooled connections."""

import asyncio

import aiohttp

from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, RemoteWrite

from ..net.connection_policy import ConnectionPolicy
from ..net.http_results import (
    MAX_ANSWER,
    MAX_HEAD,
    SUCCESS_BODY_S,
    is_success,
    network_failure,
    read_start,
    timeout_failure,
)
from .response_handler import use_status_first

NO_LIMIT = 0
"""Connections at a time: the core sends one request for each queue, and none may wait for those of
another tenant that time out."""


class Client:
    """Sends effects to their destinations.

    Args:
        timeout: Time limit of a request, in ms.
        policy: Proxies and TLS; by default no proxy and the certificates of the system.
    """

    def __init__(self, timeout: int, policy: ConnectionPolicy | None = None) -> None:
        self._timeout = timeout / 1000
        self._policy = ConnectionPolicy() if policy is None else policy
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}  # by SOCKS proxy
        self._is_open = False

    async def open(self) -> None:
        """Open the client. Its pools are opened with the first requests that they are for."""
        self._is_open = True

    async def close(self) -> None:
        """Close the pools."""
        self._is_open = False
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def _session_for(self, proxy: str | None) -> aiohttp.ClientSession:
        assert self._is_open, "the client is not open"
        socks = proxy if proxy is not None and proxy.startswith("socks5") else None
        if socks not in self._sessions:
            self._sessions[socks] = aiohttp.ClientSession(
                connector=use_status_first(self._create_connector(socks)),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                # Bodies are read as they come: a badly encoded one must not hide the status.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                max_line_size=MAX_HEAD,
                max_field_size=MAX_HEAD,
            )
        return self._sessions[socks]

    def _create_connector(self, socks: str | None) -> aiohttp.BaseConnector:
        if socks is None:
            return aiohttp.TCPConnector(ssl=self._policy.tls, limit=NO_LIMIT)
        # Imported here: few have such a proxy.
        from aiohttp_socks import ProxyConnector

        url = socks.replace("socks5h:", "socks5:", 1)
        return ProxyConnector.from_url(url, rdns=True, ssl=self._policy.tls, limit=NO_LIMIT)

    async def send(self, effect: RemoteWrite | LokiPush) -> HttpResult | NetworkFailure:
        """Send one effect. A fault is a result, never an exception."""
        answer: HttpResult | None = None
        try:
            proxy = self._policy.proxies.proxy_for(effect.url)
            session = self._session_for(proxy)
            http_proxy = proxy if proxy is not None and proxy.startswith("http") else None
            async with session.post(
                effect.url,
                data=effect.body,
                headers=effect.headers,
                allow_redirects=False,
                proxy=http_proxy,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                answer = HttpResult(response.status, headers)
                limit = SUCCESS_BODY_S if is_success(response.status) else None
                async with asyncio.timeout(limit):
                    body = await read_start(response.content.iter_chunked(MAX_ANSWER))
                return HttpResult(response.status, headers, body)
        except TimeoutError:
            return answer or timeout_failure(self._timeout)
        # Also a host or a header that cannot be encoded, and each kind of error of a SOCKS proxy.
        except Exception as error:
            return answer or network_failure(error)

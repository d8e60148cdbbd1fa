"""HTTP requests to a running worker, for ``stats``, ``replay`` and ``simulate``.

They use the standard library's client, which every shell has: a request costs a quarter of the
CPU time of one by httpx, and clients that send batches are bound by it.
"""

import os
from base64 import b64encode
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection, InvalidURL
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

import msgspec

from ..net.proxy_rules import ProxyRules

TIMEOUT: Final = 10.0
"""Seconds to wait for a page."""

MAX_PAGE: Final = 32 << 20
"""Largest page that is read, in bytes."""

NO_ANSWER: Final = (OSError, HTTPException)
"""Raised by a request that got no answer."""

UNSENDABLE: Final = (ValueError, InvalidURL)
"""Raised by a request that no worker can be sent: its URL or a header is malformed."""


class WorkerError(Exception):
    """The worker gave no usable answer; the text says why."""


class Reply(NamedTuple):
    """The answer to a request."""

    status: int
    headers: Message
    body: bytes


class WorkerConnection:
    """A keep-alive connection, opened when it is needed. Respects proxies of the environment.

    Args:
        url: The worker; its path is not used.
        timeout: Seconds to wait for the connection and for each read.
    """

    def __init__(self, url: str, timeout: float) -> None:
        address = urlsplit(url)
        host = address.netloc.rpartition("@")[2]
        proxy = ProxyRules.from_environment(os.environ).proxy_for(url) or ""
        if proxy.startswith("socks"):
            raise WorkerError(
                "proxies of this command are http:// only; add the worker to NO_PROXY"
            )
        peer = urlsplit(proxy or url)
        connection = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self._connection = connection(peer.hostname or "", peer.port, timeout=timeout)
        self._prefix = ""
        self._headers: dict[str, str] = {}
        if proxy:
            login = f"{unquote(peer.username or '')}:{unquote(peer.password or '')}"
            credentials = {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}
            headers = credentials if peer.username else {}
            if address.scheme == "https":
                self._connection.set_tunnel(address.hostname or "", address.port, headers)
            else:
                self._prefix, self._headers = f"http://{host}", headers

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> Reply:
        """Send a request and read its answer, of the body at most ``max_bytes``.

        Raises:
            OSError, HTTPException: No answer came.
            ValueError, InvalidURL: The request cannot be sent.
        """
        connection = self._connection
        is_reused = connection.sock is not None
        try:
            target = self._prefix + target
            connection.request(method, target, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read(max_bytes))
        except BaseException as error:
            connection.close()
            if not (is_reused and isinstance(error, ConnectionError)):
                raise
        # The worker closes idle connections. A batch that arrives twice is counted once.
        return self.request(method, target.removeprefix(self._prefix), body, headers, max_bytes)

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._connection.close()


def fetch_json(url: str, path: str, query: Mapping[str, str], key: str) -> dict[str, Any]:
    """GET a page of a worker.

    Args:
        url: The worker.
        path: The page's path below that of the worker.
        query: Fields of the query.
        key: The API key; "" for none.

    Raises:
        WorkerError: The worker does not answer, or not with a JSON object.
    """
    address = urlsplit(url)
    path = address.path.rstrip("/") + path
    page = f"{address.scheme}://{address.netloc}{path}"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection = WorkerConnection(url, TIMEOUT)
        reply = connection.request("GET", f"{path}?{urlencode(query)}", None, headers, MAX_PAGE + 1)
        connection.close()
    except (*NO_ANSWER, *UNSENDABLE) as error:
        raise WorkerError(f"cannot reach {page}: {error}") from None
    if len(reply.body) > MAX_PAGE:
        raise WorkerError(f"{page} answers with more than {MAX_PAGE} bytes")
    try:
        answer = msgspec.json.decode(reply.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WorkerError(f"{page} answers {reply.status} and no JSON: is it a worker?") from None
    if reply.status != 200:
        raise WorkerError(f"{page} answers {reply.status} {answer.get('message', '')}".rstrip())
    return answer

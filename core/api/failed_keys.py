"""Failed attempts to read with an API key, limited by client address.

A right key is always accepted: the limit must not let one client lock out others behind the same
proxy. Addresses of private networks are those of a proxy, so the client's is then the last one in
X-Forwarded-For, which the proxy has added.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

from ..http.messages import Request

MAX_FAILURES: Final = 10
"""Maximum failed attempts of one address within ``FAILURE_WINDOW_MS``."""

FAILURE_WINDOW_MS: Final = 60_000

MAX_ADDRESSES: Final = 10_000
"""Maximum addresses remembered; the oldest is evicted."""


class FailedKeys:
    """Counts wrong keys by address."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[int]] = OrderedDict()

    def __len__(self) -> int:
        """Number of addresses remembered."""
        return len(self._failures)

    def note(self, request: Request, now: int) -> int:
        """Note a wrong key.

        Returns:
            Seconds that the client must wait, because it has sent too many; 0 if it has not.
        """
        address = client_address(request)
        # Times in the future are from before the clock was set back.
        recent = [at for at in self._failures.pop(address, ()) if 0 <= now - at < FAILURE_WINDOW_MS]
        self._failures[address] = recent
        if len(recent) >= MAX_FAILURES:
            return max(1, -((now - recent[0] - FAILURE_WINDOW_MS) // 1000))
        recent.append(now)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return 0


def client_address(request: Request) -> str:
    """Return a client's address, or its network of 64 bits for IPv6; "" if it is unknown."""
    address = _network(request.client)
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2]
    if forwarded and (not request.client or _is_private(request.client)):
        return _network(forwarded.strip()) or address
    return address


def _is_private(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_private
    except ValueError:
        return True


def _network(text: str) -> str:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)

"""Requests from this machine, and requests to a name that only this network resolves."""

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from ..http.messages import Request

_FORWARDED: Final = re.compile(
    r"x-forwarded(?:-.+)?|forwarded|via|x-real-ip|(?:x-|true-|fly-|x-cluster-)client-ip"
    r"|x-original-(?:for|host)|cf-(?:connecting-ip|ray)"
)
"""Headers of proxies. With one of them the other end of the connection is not the client."""

_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".internal", ".home.arpa")
"""Domains that are not delegated in the public DNS (RFC 6761, 6762, 8375; ICANN 2024)."""

_HOST: Final = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[0-9a-z_-]+(?:\.[0-9a-z_-]+)*\.?))(?::[0-9]*)?"
)


def is_from_loopback(request: Request) -> bool:
    """Whether a request comes from this machine and no proxy has forwarded it.

    The Host header must name this machine as well: some servers (waitress) remove the headers of
    proxies that they do not trust, and a proxy usually passes the public name.
    """
    if any(_FORWARDED.fullmatch(name) for name in request.headers):
        return False
    return _is_loopback(request.client.partition("%")[0]) and _names_this_machine(request)


def _names_this_machine(request: Request) -> bool:
    host = request.headers.get("host", "").strip().lower()
    parts = _HOST.fullmatch(host)
    if parts is None:
        return not host
    name = (parts["address"] or parts["name"]).removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def names_private_host(request: Request, allowed: Collection[str]) -> bool:
    """Whether the Host header cannot be that of a DNS rebinding attack.

    In such an attack a page at ``evil.example`` makes its own name resolve to the worker's address,
    so the browser takes the worker for the page's origin, and Host is ``evil.example``. An address,
    a name without a dot and a name that the public DNS does not delegate cannot be the attacker's.
    Every browser sends Host.

    Args:
        request: The request.
        allowed: More names, in lower case and without a port.
    """
    host = request.headers.get("host", "").strip().lower()
    if not host:
        return True
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    if parts["address"]:
        return True
    name = parts["name"].removesuffix(".")
    if name in allowed or "." not in name or name.endswith(_PRIVATE_SUFFIXES):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

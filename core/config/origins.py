"""Origins of web pages: the setting CORS_ALLOWED_ORIGINS."""

import re
from typing import Final

DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_SUBDOMAINS: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


def parse_origins(text: str) -> tuple[str, ...]:
    """Parse origins that are separated by commas or blanks, into the form that browsers send.

    Quotes, upper case, a trailing slash and a default port are removed. ``*`` is every origin,
    ``https://*.a.example`` every subdomain of ``a.example``.

    Raises:
        ValueError: A value is not an origin.
    """
    values = [value.strip("\"'") for value in re.split(r"[,\s]+", text.strip())]
    origins = tuple(dict.fromkeys(_parse_origin(value) for value in values if value))
    if not origins:
        raise ValueError("holds no value")
    return origins


def _parse_origin(value: str) -> str:
    if value in ("*", "null"):
        return value
    origin = value.lower().removesuffix("/")
    parts = _ORIGIN.fullmatch(origin)
    if parts is None:
        raise ValueError(f"holds {value!r}, which is not an origin ({_advice(origin)})")
    port = parts["port"]
    if port is not None and port == DEFAULT_PORTS.get(parts["scheme"]):
        return origin.removesuffix(f":{port}")
    return origin


def _advice(origin: str) -> str:
    """Say what to write instead of a value that is not an origin."""
    if "://" not in origin:
        return "it needs a scheme: https://a.example"
    if not origin.isascii():
        return "write its host in Punycode: https://xn--…"
    if "/" in origin.partition("://")[2]:
        return "an origin has no path: https://a.example"
    if "*" in origin:
        return "a wildcard must be the whole first label: https://*.a.example"
    return "write https://a.example or https://*.a.example:8443"


def is_allowed_origin(origin: str, allowed: tuple[str, ...]) -> bool:
    """Whether an Origin header is one of the allowed origins or matches one with a wildcard."""
    if "*" in allowed or origin in allowed:
        return True
    for pattern in allowed:
        scheme, is_wildcard, domain = pattern.partition("://*.")
        start, end = f"{scheme}://", f".{domain}"
        if (
            is_wildcard
            and origin.startswith(start)
            and origin.endswith(end)
            and _SUBDOMAINS.fullmatch(origin, len(start), len(origin) - len(end))
        ):
            return True
    return False

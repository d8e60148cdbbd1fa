"""Proxies from the environment, interpreted as curl does.

``http_proxy``, ``https_proxy`` and ``all_proxy`` name proxies, ``no_proxy`` the hosts without one;
lower case takes precedence over upper case. A proxy is ``http://``, ``https://``, ``socks5://`` or
``socks5h://``, with or without credentials; without a scheme it is ``http://``, and without a port
1080. A SOCKS proxy resolves names.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from openqoe.core.config.declaration import SettingsError

SCHEMES = ("http", "https", "socks5", "socks5h")

DEFAULT_PORT = 1080


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Selects the proxy of a request.

    Attributes:
        proxies: URL of the proxy by scheme of the request; not in the ``repr``, because it may
            hold a password.
        exceptions: Hosts without a proxy.
    """

    proxies: tuple[tuple[str, str], ...]
    exceptions: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ProxyRules":
        """Read the variables.

        Raises:
            SettingsError: One of them is not the URL of a proxy.
        """
        proxies: list[tuple[str, str]] = []
        for scheme in ("http", "https"):
            name, text = _find_variable(environment, f"{scheme}_proxy")
            if not text:
                name, text = _find_variable(environment, "all_proxy")
            if text:
                proxies.append((scheme, _parse_proxy(name, text)))
        _, exceptions = _find_variable(environment, "no_proxy")
        return cls(tuple(proxies), tuple(re.split(r"[\s,]+", exceptions.strip().lower())))

    def proxy_for(self, url: str) -> str | None:
        """Return the URL of the proxy for a request; None if it goes directly.

        Raises:
            ValueError: It is not a URL.
        """
        parts = urlsplit(url)
        proxy = dict(self.proxies).get(parts.scheme)
        if proxy is None or parts.hostname is None:
            return None
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        host = parts.hostname.lower().rstrip(".")
        return None if any(_matches(one, host, port) for one in self.exceptions) else proxy

    def __repr__(self) -> str:
        return f"ProxyRules({', '.join(scheme for scheme, _ in self.proxies)})"


def _find_variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the name and the value of a variable in lower or upper case; "" if it is not set."""
    if name in environment:
        return name, environment[name].strip()
    upper = name.upper()
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        return upper, ""  # with CGI it is the header "Proxy" of a client
    return upper, environment.get(upper, "").strip()


def _parse_proxy(name: str, text: str) -> str:
    """Return the URL of a proxy with scheme and port.

    Raises:
        SettingsError: It is none. The message does not hold the text, which may hold a password.
    """
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise SettingsError((f"{name} is not the URL of a proxy",)) from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise SettingsError((f"{name} names a proxy of another kind than {known}",))
    if not parts.hostname or re.search(r"[\s\x00-\x1f]", url):
        raise SettingsError((f"{name} is not the URL of a proxy",))
    credentials, separator, _ = parts.netloc.rpartition("@")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{credentials}{separator}{host}:{port}"


def _matches(exception: str, host: str, port: int) -> bool:
    """Whether a host is meant by an entry of ``no_proxy``.

    An entry is ``*``, a host (which includes its subdomains), an address or a network, with or
    without brackets and port.
    """
    if exception == "*":
        return True
    with_port = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d+)", exception)
    if with_port is not None:
        if int(with_port[2]) != port:
            return False
        exception = with_port[1]
    exception = exception.strip("[]").strip(".")
    if not exception:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == exception or host.endswith(f".{exception}")
    try:
        return address in ipaddress.ip_network(exception, strict=False)
    except ValueError:
        return False

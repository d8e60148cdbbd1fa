"""How the clients of all shells connect to destinations: proxies and TLS.

Nothing else of the environment applies: no ``~/.netrc``, no settings of a client's library.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import truststore

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config

from .proxy_rules import ProxyRules


@cache
def _create_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Create a context that trusts the certificates of a file, or those of the system."""
    context: ssl.SSLContext
    if ca is None:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=_readable("OPENQOE_DESTINATION_CA_FILE", ca))
        except ssl.SSLError:
            fault = f"OPENQOE_DESTINATION_CA_FILE {ca} holds no certificate in PEM format"
            raise SettingsError((fault,)) from None
    if certificate is not None:
        name = "OPENQOE_DESTINATION_CLIENT_CERT"
        _readable(name, certificate)
        if key is not None:
            _readable("OPENQOE_DESTINATION_CLIENT_KEY", key)
        try:
            # An empty password instead of a prompt: an encrypted key is a fault.
            context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError) as error:
            fault = f"{name} {certificate} cannot be used with its key: {error}"
            raise SettingsError((fault,)) from None
    return context


def _readable(name: str, path: str) -> str:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise SettingsError((f"{name} {path} cannot be read: {error.strerror}",)) from None
    return path


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Proxies and TLS of requests to destinations.

    Attributes:
        proxies: Selects the proxy of a request.
        tls: Verifies servers, and identifies the worker where a client certificate is set.
    """

    proxies: ProxyRules = field(default_factory=lambda: ProxyRules((), ()))
    tls: ssl.SSLContext = field(default_factory=lambda: _create_context(None, None, None))

    @classmethod
    def load(
        cls, config: Config, environment: Mapping[str, str] | None = None
    ) -> "ConnectionPolicy":
        """Read the settings and the variables of proxies.

        Raises:
            SettingsError: A file cannot be used, or a variable does not name a proxy.
        """
        found = os.environ if environment is None else environment
        return cls(
            ProxyRules.from_environment(found),
            _create_context(
                config.destination_ca_file,
                config.destination_client_cert,
                config.destination_client_key,
            ),
        )

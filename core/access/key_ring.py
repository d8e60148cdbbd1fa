"""The key ring: decides by its API keys whether a request may do something.

Keys come from ``API_KEY`` (scope ingest), ``OPENQOE_READ_KEY`` (read, logs) and the keys file.

    nothing is set           everyone may send and read; reads only by a private host name, because
                             of DNS rebinding
    only API_KEY             it opens reads as well, from this machine only: pages carry that key
    a read key or a file     each key may do what its scopes say

The scope admin is that of keys of the file only.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from ..config.worker_config import Config
from ..http.messages import Request
from .api_key import ApiKey, Scope, key_digest
from .keys_file import SETTING, KeysFileError, parse_keys_file
from .local_requests import is_from_loopback, names_private_host
from .offered_keys import offered_keys


class Grant(NamedTuple):
    """A request may do what it asks for.

    Attributes:
        key: The key that permits it; None if everyone may.
        text: The key as offered; "" if none was needed.
    """

    key: ApiKey | None = None
    text: str = ""

    @property
    def orgs(self) -> frozenset[str] | None:
        """The organisations that it covers; None for all."""
        return None if self.key is None else self.key.orgs


class Refusal(Enum):
    """Why a request may not do what it asks for; the values are sentences for its sender."""

    KEY = "Unauthorized: Invalid or missing API key"
    SCOPE = "Forbidden: this API key has not the scope"
    REMOTE = (
        "Forbidden: API_KEY opens reads from the worker's own machine only; "
        "set OPENQOE_READ_KEY or OPENQOE_KEYS_FILE to read from elsewhere"
    )
    HOST = (
        "Forbidden: without a key, reads are open by address and by private host names only; "
        "set OPENQOE_READ_KEY, or this host name in OPENQOE_ALLOWED_HOSTS"
    )
    ORGS = "Forbidden: this API key is limited to organisations, and these numbers are of all"
    OTHER_ORG = "Forbidden: this API key is limited to other organisations"


OPEN = Grant()

_READS = (Scope.READ, Scope.LOGS)


class KeyRing:
    """All API keys of a worker.

    Args:
        config: The settings.
        document: Content of the keys file; None without a file.

    Raises:
        KeysFileError: The file is invalid.

    Attributes:
        tenants: Tenants by organisation, as the file says; another object once they have changed.
    """

    def __init__(self, config: Config, document: bytes | None = None) -> None:
        self._allowed_hosts = frozenset(config.allowed_hosts)
        self._has_file = config.keys_file is not None
        self._is_ingest_open = not config.api_keys and not self._has_file
        has_read_key = bool(config.read_keys) or self._has_file
        self._is_read_open = not config.api_keys and not has_read_key
        self._ingest_keys_read_locally = not has_read_key
        self._configured = _configured_keys(config)
        self._document: bytes | None = None
        self._keys: dict[bytes, ApiKey] = {}
        self._org_action = config.cardinality_limits["org_id"].action
        self.tenants: Mapping[str, str] = {}
        self.update(document or b"[]")

    def update(self, document: bytes) -> bool:
        """Replace the keys of the file. If it is invalid, the keys stay as they are.

        Returns:
            Whether the file has changed.

        Raises:
            KeysFileError: The file is invalid.
        """
        if document == self._document:
            return False
        keys = parse_keys_file(document)
        # Revoked keys count: their organisation's data must not move to the default tenant.
        tenants = {org: key.tenant for key in keys if key.tenant for org in sorted(key.orgs or ())}
        if tenants and self._org_action != "allow":
            raise KeysFileError(
                (
                    f"{SETTING} names tenants, so CARDINALITY_LIMITS must have the action allow "
                    "for org_id: series show their organisation by this label",
                )
            )
        if tenants != self.tenants:
            self.tenants = tenants
        self._document = document
        # The entry of the file counts for a key that is in a setting as well: it is more specific.
        self._keys = {**self._configured, **{key.digest: key for key in keys}}
        return True

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """All keys that open something."""
        return tuple(key for key in self._keys.values() if not key.is_revoked)

    def is_open(self, scope: Scope) -> bool:
        """Whether a scope needs no key."""
        if scope is Scope.ADMIN:
            return False
        return self._is_ingest_open if scope is Scope.INGEST else self._is_read_open

    def find(self, text: str) -> ApiKey | None:
        """Return the key with this text; None if there is none, or it is revoked."""
        key = self._keys.get(key_digest(text))
        return None if key is None or key.is_revoked else key

    def authorize(self, request: Request, scope: Scope) -> Grant | Refusal:
        """Decide whether a request may do something by the keys that it offers."""
        if self.is_open(scope):
            return self.authorize_open(request, scope)
        try:
            offered = offered_keys(request)
        except ValueError:  # too many fields in the query
            return Refusal.KEY
        refusal = Refusal.KEY
        for text in offered:
            key = self.find(text)
            if key is not None:
                refused = self.refusal_of(key, request, scope)
                if refused is None:
                    return Grant(key, text)
                refusal = refused
        return refusal

    def offers_revoked_key(self, request: Request) -> bool:
        """Whether a request offers a key that was valid once."""
        try:
            known = (self._keys.get(key_digest(text)) for text in offered_keys(request))
            return any(key is not None and key.is_revoked for key in known)
        except ValueError:
            return False

    def authorize_open(self, request: Request, scope: Scope) -> Grant | Refusal:
        """Decide about a request for something that needs no key."""
        if scope is not Scope.INGEST and not names_private_host(request, self._allowed_hosts):
            return Refusal.HOST
        return OPEN

    def refusal_of(self, key: ApiKey, request: Request, scope: Scope) -> Refusal | None:
        """Return why a known key does not permit a request to do something; None if it does."""
        if scope in key.scopes:
            return None
        if self._ingest_keys_read_locally and scope in _READS and Scope.INGEST in key.scopes:
            return None if is_from_loopback(request) else Refusal.REMOTE
        return Refusal.SCOPE


def _configured_keys(config: Config) -> dict[bytes, ApiKey]:
    """Return the keys of settings by digest; one that is in both settings has all their scopes."""
    keys: dict[bytes, ApiKey] = {}
    for name, texts, scopes in (
        ("API_KEY", config.api_keys, frozenset({Scope.INGEST})),
        ("OPENQOE_READ_KEY", config.read_keys, frozenset(_READS)),
    ):
        for text in texts:
            digest = key_digest(text)
            before = keys[digest].scopes if digest in keys else frozenset()
            keys[digest] = ApiKey(digest, name, scopes | before)
    return keys

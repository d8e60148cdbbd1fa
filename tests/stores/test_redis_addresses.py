"""Addresses of Redis: TLS and Unix sockets."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from openqoe.core.kv import Claim
from openqoe.shells.stores import StoreError
from openqoe.shells.stores.redis_store import RedisStore
from tests.support.redis_server import PASSWORD, Redis
from tests.support.services import free_port

WORD = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="module")
def tls_port(folder: Path) -> Iterator[int]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    options = {
        "--tls-port": str(port),
        "--tls-cert-file": str(folder / "cert.pem"),
        "--tls-key-file": str(folder / "key.pem"),
        "--tls-ca-cert-file": str(folder / "ca.pem"),
        "--tls-auth-clients": "no",
        "--unixsocket": str(folder / "redis.sock"),
    }
    with Redis("127.0.0.1", *(part for option in options.items() for part in option)):
        yield port


def owner(store: RedisStore) -> object:
    try:
        (reply,) = store.run((Claim("tls", "a", None),))
        return reply
    finally:
        store.close()


def test_tls_with_private_authority_connects(tls_port: int, folder: Path) -> None:
    url = f"rediss://:{WORD}@localhost:{tls_port}/0?ssl_ca_certs={folder / 'ca.pem'}"
    assert owner(RedisStore(url, "p")) == "a"


def test_untrusted_certificate_is_refused(tls_port: int) -> None:
    with pytest.raises(StoreError, match="certificate verify failed") as caught:
        owner(RedisStore(f"rediss://:{WORD}@localhost:{tls_port}/0", "p"))
    assert PASSWORD not in str(caught.value)


def test_unix_socket_connects(tls_port: int, folder: Path) -> None:
    assert tls_port
    assert owner(RedisStore(f"unix://:{WORD}@{folder / 'redis.sock'}?db=0", "p")) == "a"

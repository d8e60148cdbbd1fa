"""Where Redis may be: behind TLS, or behind a Unix socket."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from openqoe.core.kv import Claim
from openqoe.shells.stores import StoreError
from openqoe.shells.stores.redis_store import RedisStore
from tests.stores.conftest import Blocking
from tests.support.redis_server import PASSWORD, Redis
from tests.support.services import free_port

WORD = quote(PASSWORD, safe="")

both_clients = pytest.mark.parametrize("client", [RedisStore, Blocking], ids=["threads", "asyncio"])


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


def owner(store: RedisStore | Blocking) -> object:
    try:
        (reply,) = store.run((Claim("tls", "a", None),))
        return reply
    finally:
        store.close()


@both_clients
def test_tls_with_an_authority_of_ones_own(
    client: type[RedisStore | Blocking], tls_port: int, folder: Path
) -> None:
    url = f"rediss://:{WORD}@localhost:{tls_port}/0?ssl_ca_certs={folder / 'ca.pem'}"
    assert owner(client(url, "p")) == "a"


@both_clients
def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    client: type[RedisStore | Blocking], tls_port: int
) -> None:
    with pytest.raises(StoreError, match="certificate verify failed") as caught:
        owner(client(f"rediss://:{WORD}@localhost:{tls_port}/0", "p"))
    assert PASSWORD not in str(caught.value)


@both_clients
def test_a_unix_socket(client: type[RedisStore | Blocking], tls_port: int, folder: Path) -> None:
    assert tls_port
    assert owner(client(f"unix://:{WORD}@{folder / 'redis.sock'}?db=0", "p")) == "a"

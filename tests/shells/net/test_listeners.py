"""Listeners: sockets in use, stale or replaced; unusable TLS files."""

import errno
import socket
from pathlib import Path

import pytest
import trustme

from openqoe.shells.net.listeners import ListenError, ListenOptions


def fault(listen_options: ListenOptions) -> str:
    with pytest.raises(ListenError) as caught:
        listen_options.open()
    return str(caught.value)


def test_unix_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = ListenOptions(unix=path, backlog=1).open()
    for _ in range(4):  # also when the queue of connections is full
        assert fault(ListenOptions(unix=path)) == f"cannot listen: {path}: already in use"
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        assert client.connect_ex(str(path)) != errno.ECONNREFUSED
    first.close()
    assert not path.exists()


def test_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    ListenOptions(unix=path).open().close()
    assert not path.exists()


def test_file_that_is_not_a_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    assert str(path) in fault(ListenOptions(unix=path))
    assert path.read_text() == "precious"


def test_close_removes_only_the_own_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = ListenOptions(unix=path).open()
    path.rename(tmp_path / "old")
    second = ListenOptions(unix=path).open()
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    files = {name: folder / f"{name}.pem" for name in ("cert", "key", "other", "none", "missing")}
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(files["cert"])
    certificate.private_key_pem.write_to_path(files["key"])
    authority.issue_cert("localhost").private_key_pem.write_to_path(files["other"])
    files["none"].write_text("nothing")
    return files


@pytest.mark.parametrize(
    ("cert", "key", "option", "named"),
    [
        ("missing", None, "--tls-cert", "missing"),
        ("cert", "missing", "--tls-key", "missing"),
        ("none", "key", "--tls-cert", "none"),
        ("cert", "none", "--tls-key", "none"),
        ("cert", "other", "--tls-key", "other"),
        ("cert", None, "--tls-cert", "cert"),
    ],
)
def test_unusable_tls_file_is_named_in_error(
    pem: dict[str, Path], cert: str, key: str | None, option: str, named: str
) -> None:
    message = fault(
        ListenOptions(port=0, tls_cert=pem[cert], tls_key=None if key is None else pem[key])
    )
    assert f"{option} {pem[named]}" in message
    assert "cannot listen" not in message


def test_valid_tls_files_give_a_tls_context(pem: dict[str, Path]) -> None:
    listeners = ListenOptions(port=0, tls_cert=pem["cert"], tls_key=pem["key"]).open()
    assert listeners.tls is not None
    listeners.close()


def test_invalid_host_name_is_named_in_error() -> None:
    assert fault(ListenOptions(("x" * 70 + ".test",))).startswith("cannot listen: xxx")

"""Where to listen: TCP on IPv4 and IPv6, Unix sockets, TLS. The same for every server of ours."""

import errno
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Listening:
    """What to listen on.

    Attributes:
        hosts: Names or addresses; "*" is every address of IPv4 and IPv6. A name that has
            several addresses is listened for on all of them.
        port: TCP port; 0 is any free one.
        unix: Path of a Unix socket to listen on instead.
        backlog: Connections that may wait to be accepted.
        tls_cert: PEM file of the certificate chain; None serves without TLS.
        tls_key: PEM file of its key, if it is not in the same file.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8787
    unix: Path | None = None
    backlog: int = 2048
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def open(self) -> list[socket.socket]:
        """Bind and listen.

        Raises:
            OSError: An address cannot be bound; its text names which.
        """
        if self.unix is not None:
            return [self._open_unix(self.unix)]
        opened: list[socket.socket] = []
        port = self.port
        try:
            for family, address in self._addresses():
                try:
                    one = self._open_tcp(family, address, port)
                except OSError as error:
                    # A machine without IPv6 still serves its IPv4 addresses.
                    if opened and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        continue
                    raise OSError(error.errno, f"{address}:{port}: {error.strerror}") from None
                opened.append(one)
                port = one.getsockname()[1]
        except OSError:
            for one in opened:
                one.close()
            raise
        return opened

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, or None.

        Raises:
            OSError: A file cannot be read, or is no certificate or key (ssl.SSLError).
        """
        if self.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.tls_cert, self.tls_key)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def close(self, sockets: list[socket.socket]) -> None:
        """Close what ``open`` has opened, and remove the Unix socket."""
        for one in sockets:
            one.close()
        if self.unix is not None:
            with suppress(FileNotFoundError):
                self.unix.unlink()

    def _addresses(self) -> list[tuple[int, str]]:
        names = [n for host in self.hosts for n in (ANY if host in ("*", "") else (host,))]
        found: dict[tuple[int, str], None] = {}
        for name in names:
            try:
                infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                raise OSError(error.errno, f"{name}: {error.strerror}") from None
            for family, _, _, _, address in infos:
                if family in (socket.AF_INET, socket.AF_INET6):
                    found[int(family), str(address[0])] = None
        return list(found)

    def _open_tcp(self, family: int, address: str, port: int) -> socket.socket:
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Otherwise :: would take IPv4's port, too, and 0.0.0.0 could not be bound.
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.setblocking(False)
            one.bind((address, port))
            one.listen(self.backlog)
        except OSError:
            one.close()
            raise
        return one

    def _open_unix(self, path: Path) -> socket.socket:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.stat().st_mode):
                path.unlink()  # left behind by a process that was killed
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            one.setblocking(False)
            one.bind(str(path))
            one.listen(self.backlog)
        except OSError as error:
            one.close()
            raise OSError(error.errno, f"{path}: {error.strerror}") from None
        return one


def describe(one: socket.socket) -> str:
    """Where a socket listens, for the log."""
    name = one.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

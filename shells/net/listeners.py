"""Listening sockets: TCP on IPv4 and IPv6, Unix sockets, TLS."""

import errno
import os
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .connection_counts import ABSENT, LATE_TURNS, ConnectionCounts
from .sockets import ACCEPT_BATCH

ANY = ("0.0.0.0", "::")


class ListenError(Exception):
    """An address cannot be bound or a file cannot be used; the text names it and the reason."""


class Listeners:
    """Listening sockets.

    Attributes:
        sockets: The sockets.
        backlog: Maximum number of pending connections.
        tls: The TLS context; None serves without TLS.
        addresses: Their addresses, for the log.
        port: The TCP port, shared by all; None for a Unix socket.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        backlog: int,
        tls: ssl.SSLContext | None,
        *,
        inherited: bool = False,
        counts: ConnectionCounts | None = None,
        worker: int = 0,
    ) -> None:
        """
        Args:
            sockets: The sockets.
            backlog: Maximum number of pending connections.
            tls: The TLS context; None serves without TLS.
            inherited: Whether another process has opened them.
            counts: The connections of all workers that accept from them, if they share their
                numbers.
            worker: The number of this worker among them.
        """
        self._counts = counts
        self._worker = worker
        self.sockets = sockets
        self.backlog = backlog
        self.tls = tls
        self.addresses = [_describe(one) for one in sockets]
        name = sockets[0].getsockname()
        self.port: int | None = None if isinstance(name, str) else name[1]
        self._batch = 1 if inherited else ACCEPT_BATCH  # others may have inherited it, too
        self._late_turns = 0  # in a row
        # The file of an inherited socket belongs to the process that opened it.
        is_own_file = isinstance(name, str) and not inherited
        self._unix = Path(name).absolute() if is_own_file else None
        self._inode = None if self._unix is None else _inode(self._unix)

    @property
    def url(self) -> str | None:
        """The URL for a browser on this machine; None on a Unix socket."""
        if self.port is None:
            return None
        address = self.addresses[0].rpartition(":")[0]
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(address, address)
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}/"

    def begin_turn(self) -> int:
        """Return how many connections to accept in a turn of the event loop.

        0 if another worker has fewer, and should go first: wait for ``HEAD_START`` and call
        ``begin_late_turn``.
        """
        if self._counts is not None and self._counts.is_ahead(self._worker):
            return 0
        self._late_turns = 0
        return self._batch

    def begin_late_turn(self) -> int:
        """Return how many connections to accept after the others could go first.

        After many such turns in a row another worker hangs, and must not hold up this one.
        """
        self._late_turns += 1
        return 1 if self._late_turns <= LATE_TURNS else ACCEPT_BATCH

    def note_connections(self, number: int) -> None:
        """Tell the other workers how many connections this one has."""
        if self._counts is not None:
            self._counts.set(self._worker, number)

    def close(self) -> None:
        """Close the sockets and remove the Unix socket's file, unless it is another process's."""
        if self._counts is not None:
            self._counts.set(self._worker, ABSENT)
            self._counts.close()
            self._counts = None
        for one in self.sockets:
            one.close()
        if self._unix is not None and self._inode == _inode(self._unix):
            with suppress(OSError):
                self._unix.unlink()


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Addresses and files to listen with.

    Attributes:
        hosts: Names or addresses; "*" is every address of IPv4 and IPv6. All addresses of a name
            are used.
        port: TCP port; 0 for any free one.
        unix: Path of a Unix socket to listen on instead.
        backlog: Maximum number of pending connections.
        tls_cert: PEM file of the certificate chain; None serves without TLS.
        tls_key: PEM file of its key, if it is not in the same file.
        fds: Descriptors of listening sockets, which replace all of the above but TLS.
        counts: Descriptor of the ``ConnectionCounts`` of the workers that accept from them, and
            the number of this one.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8787
    unix: Path | None = None
    backlog: int = 2048
    tls_cert: Path | None = None
    tls_key: Path | None = None
    fds: tuple[int, ...] = ()
    counts: tuple[int, int] | None = None

    def open(self) -> Listeners:
        """Bind and listen. Connections are queued from now on.

        Raises:
            ListenError: An address cannot be bound, or a TLS file cannot be used.
        """
        tls = self._tls()
        try:
            if self.fds:
                sockets = [self._inherit(fd) for fd in self.fds]
            else:
                sockets = [self._open_unix(self.unix)] if self.unix else self._open_all()
        except OSError as error:
            raise ListenError(f"cannot listen: {error.strerror or error}") from None
        counts, worker = None, 0
        if self.counts is not None:
            descriptor, worker = self.counts
            counts = ConnectionCounts(descriptor)
        return Listeners(
            sockets, self.backlog, tls, inherited=bool(self.fds), counts=counts, worker=worker
        )

    def _tls(self) -> ssl.SSLContext | None:
        if self.tls_cert is None:
            return None
        files = {"--tls-cert": self.tls_cert}
        if self.tls_key is not None:
            files["--tls-key"] = self.tls_key
        for option, path in files.items():
            try:
                path.open("rb").close()
            except OSError as error:
                raise ListenError(f"{option} {path}: {error.strerror}") from None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            # Without a password OpenSSL would prompt for one at the terminal.
            context.load_cert_chain(self.tls_cert, self.tls_key, password="")
        except (OSError, ValueError) as error:
            named = ", ".join(f"{option} {path}" for option, path in files.items())
            raise ListenError(
                f"{named}: not a certificate and its key, unencrypted, in PEM format ({error})"
            ) from None
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _inherit(self, fd: int) -> socket.socket:
        try:
            one = socket.socket(fileno=fd)
        except OSError as error:
            raise OSError(error.errno, f"--fd {fd}: {error.strerror}") from None
        if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            one.detach()
            raise OSError(errno.EINVAL, f"--fd {fd}: not a listening socket")
        one.setblocking(False)
        return one

    def _open_all(self) -> list[socket.socket]:
        opened: list[socket.socket] = []
        port = self.port
        try:
            for family, address in self._addresses():
                try:
                    # It binds :: for IPv6 only, so that 0.0.0.0 can be bound as well.
                    one = socket.create_server((address, port), family=family, backlog=self.backlog)
                except OSError as error:
                    # A host without IPv6 still serves its IPv4 addresses.
                    if opened and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        continue
                    reason = os.strerror(error.errno) if error.errno else str(error)
                    raise OSError(error.errno, f"{address}:{port}: {reason}") from None
                one.setblocking(False)
                opened.append(one)
                port = one.getsockname()[1]
        except OSError:
            for one in opened:
                one.close()
            raise
        return opened

    def _addresses(self) -> list[tuple[int, str]]:
        names = [n for host in self.hosts for n in (ANY if host in ("*", "") else (host,))]
        found: dict[tuple[int, str], None] = {}
        for name in names:
            try:
                infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except (socket.gaierror, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "not a host name"
                raise OSError(errno.EINVAL, f"{name}: {reason}") from None
            for family, _, _, _, address in infos:
                if family in (socket.AF_INET, socket.AF_INET6):
                    found[int(family), str(address[0])] = None
        return list(found)

    def _open_unix(self, path: Path) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            one.setblocking(False)
            _remove_stale(path)
            one.bind(str(path))
            one.listen(self.backlog)
        except OSError as error:
            one.close()
            raise OSError(error.errno, f"{path}: {error.strerror or error}") from None
        return one


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a process that was killed.

    Raises:
        OSError: A process listens on it.
    """
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # the queue of its listener is full
    raise OSError(errno.EADDRINUSE, "already in use")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _describe(one: socket.socket) -> str:
    name = one.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

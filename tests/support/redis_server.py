"""A real Redis (Debian's package).

with Redis() as redis:
    store = RedisStore(redis.url, "openqoe")
    redis.pause()                # SIGSTOP: accepts connections, answers nothing
    redis.resume()
    redis.restart()              # empty: it writes no file
    redis.exhaust_memory()       # refuses writes
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from typing import Final, Self
from urllib.parse import quote

from tests.support.services import free_port, require, wait_until

BINARY: Final = "redis-server"
PASSWORD: Final = "a-secret/with:signs"


class Redis:
    """A Redis process with its own port, password and folder.

    Args:
        address: The listen address; "0.0.0.0" for all.
        *options: Further command-line options.
    """

    def __init__(self, address: str = "127.0.0.1", *options: str) -> None:
        self._address = address
        self._options = options
        self._binary = require(BINARY)
        self._folder = tempfile.mkdtemp(prefix="openqoe-redis-")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, as a value of OPENQOE_KV_URL."""
        return self.url_at("127.0.0.1")

    def url_at(self, address: str) -> str:
        """The same, for clients that reach this machine at another address."""
        return f"redis://:{quote(PASSWORD, safe='')}@{address}:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        atexit.register(self.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        atexit.unregister(self.stop)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start Redis and wait until it answers."""
        self._process = subprocess.Popen(
            [
                self._binary,
                *("--port", str(self.port), "--bind", self._address, "--requirepass", PASSWORD),
                *("--save", "", "--appendonly", "no", "--dir", self._folder),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: self.command("PING").startswith("+PONG"), 10, "Redis to answer")

    def stop(self) -> None:
        """Kill Redis; its data is lost."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Restart without data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Send SIGSTOP: the kernel accepts connections, but no command is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # until it has stopped

    def resume(self) -> None:
        """Send SIGCONT."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)

    def exhaust_memory(self) -> None:
        """Make Redis refuse every command that needs memory."""
        assert self.command("CONFIG", "SET", "maxmemory", "1").startswith("+OK")

    def restore_memory(self) -> None:
        """Remove the memory limit."""
        assert self.command("CONFIG", "SET", "maxmemory", "0").startswith("+OK")

    def delete_all(self) -> None:
        """Delete all keys."""
        assert self.command("FLUSHALL").startswith("+OK")

    def cpu_seconds(self) -> float:
        """CPU time used by Redis, in s."""
        used = self._info("cpu")
        return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

    def used_memory(self) -> int:
        """Bytes of memory that the data occupies."""
        return int(self._info("memory")["used_memory"])

    def _info(self, section: str) -> dict[str, str]:
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def command(self, *parts: str) -> str:
        """Send a command in the Redis protocol; return the raw reply, or "" if there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                for words in (("AUTH", PASSWORD), parts):
                    text = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                    connection.sendall(f"*{len(words)}\r\n{text}".encode())
                    answer = connection.recv(65536).decode()
                return answer
        except OSError:
            return ""

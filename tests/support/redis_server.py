"""Debian's real Redis, for tests that want a real store.

with Redis() as redis:
    store = RedisStore(redis.url, "openqoe")
    redis.pause()                # SIGSTOP: it takes connections and says nothing
    redis.resume()
    redis.restart()               # it keeps nothing: no file is written
    redis.exhaust_memory()               # no more memory for anybody
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
    """A server of its own on loopback, with a password and a folder of its own.

    Args:
        address: Where it listens; "0.0.0.0" is everywhere.
        *options: More of its command line.
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
        """Where it is, as OPENQOE_KV_URL says it."""
        return self.url_at("127.0.0.1")

    def url_at(self, address: str) -> str:
        """The same for somebody to whom this machine has another address."""
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
        """Start it and wait until it answers."""
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
        """Kill it: it writes nothing down."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Come back empty."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """From now on connections are taken by the system and nobody answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # a signal takes a moment

    def resume(self) -> None:
        """It goes on."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)

    def exhaust_memory(self) -> None:
        """Everything that would need memory is refused."""
        assert self.command("CONFIG", "SET", "maxmemory", "1").startswith("+OK")

    def restore_memory(self) -> None:
        """It is not full any more."""
        assert self.command("CONFIG", "SET", "maxmemory", "0").startswith("+OK")

    def delete_all(self) -> None:
        """Forget everything."""
        assert self.command("FLUSHALL").startswith("+OK")

    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        used = self._info("cpu")
        return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

    def used_memory(self) -> int:
        """Bytes of memory that what it holds takes."""
        return int(self._info("memory")["used_memory"])

    def _info(self, section: str) -> dict[str, str]:
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def command(self, *parts: str) -> str:
        """Say something to it in its own protocol; returns the answer as it came, or ""."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                for words in (("AUTH", PASSWORD), parts):
                    text = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                    connection.sendall(f"*{len(words)}\r\n{text}".encode())
                    answer = connection.recv(65536).decode()
                return answer
        except OSError:
            return ""

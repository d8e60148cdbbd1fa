"""Simulated hosts on one machine: network namespaces with links that can be cut.

    with NetworkNamespace(1) as host:
        host.command_inside("prog", "--port", "80")  # a command line that runs on the host
        host.client_address     # address of the host, for clients
        host.outer_address      # address of this machine, as seen from the host
        host.disconnect()       # cut the link to this machine's servers; clients have their own
        host.reconnect()

Needs root. The addresses are from the benchmarking range of RFC 2544, which no real network uses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final, Self

import pytest

from tests.support.services import require

NETWORK: Final = "198.18"


class NetworkNamespace:
    """A network namespace with two links to this machine, each a /30 network.

    Args:
        number: Index of the host within the test, from 0.
    """

    def __init__(self, number: int) -> None:
        # The process id separates tests that run in parallel.
        self._name = f"oq{os.getpid()}-{number}"
        place = (os.getpid() * 4 + number) % 4096
        self._front = _Link(f"f{self._name}", place * 2)
        self._back = _Link(f"b{self._name}", place * 2 + 1)

    @property
    def client_address(self) -> str:
        """The host's address for clients."""
        return self._front.inner

    @property
    def outer_address(self) -> str:
        """This machine's address as seen from the host."""
        return self._back.outer

    def __enter__(self) -> Self:
        require("ip")
        if not can_create_namespaces():
            pytest.skip("needs the permission to create network namespaces (root)")
        _ip("netns", "add", self._name)
        _ip("-n", self._name, "link", "set", "lo", "up")
        for link in (self._front, self._back):
            link.create(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        for link in (self._front, self._back):
            link.remove()
        _ip("netns", "delete", self._name)

    def command_inside(self, *command: str) -> Sequence[str]:
        """The command line that runs a command on the host."""
        return ("ip", "netns", "exec", self._name, *command)

    def disconnect(self) -> None:
        """Cut the link to this machine's servers; clients still reach the host."""
        _ip("link", "set", self._back.name, "down")

    def reconnect(self) -> None:
        """Restore the link to this machine's servers."""
        _ip("link", "set", self._back.name, "up")


class _Link:
    """A veth pair: one device on this machine, its peer on the host."""

    def __init__(self, name: str, place: int) -> None:
        self.name = name
        first = place * 4
        self.outer = f"{NETWORK}.{first // 256}.{first % 256 + 1}"
        self.inner = f"{NETWORK}.{first // 256}.{first % 256 + 2}"

    def create(self, host: str) -> None:
        _ip("link", "add", self.name, "type", "veth", "peer", "name", f"{self.name}x")
        _ip("link", "set", f"{self.name}x", "netns", host)
        _ip("address", "add", f"{self.outer}/30", "dev", self.name)
        _ip("link", "set", self.name, "up")
        _ip("-n", host, "address", "add", f"{self.inner}/30", "dev", f"{self.name}x")
        _ip("-n", host, "link", "set", f"{self.name}x", "up")

    def remove(self) -> None:
        _ip("link", "delete", self.name)


def can_create_namespaces() -> bool:
    """Whether this machine permits network namespaces."""
    if shutil.which("ip") is None:
        return False
    name = f"oq{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        _ip("netns", "delete", name)
    return made.returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)

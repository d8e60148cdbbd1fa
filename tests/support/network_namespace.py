"""Hosts of our own on one machine: network namespaces with cables that can be pulled.

    with Host(1) as host:
        host.command_inside("prog", "--port", "80")   # a command line that runs there
        host.client_address                            # its address as clients reach it
        host.outer_address                          # this machine's address as the host reaches it
        host.disconnect()                         # it does not reach this machine any more; clients
        host.reconnect()                        # still reach it, by a cable of their own

Needs root. The addresses are those of RFC 2544, which no real network has.
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
    """A network namespace with two cables to this machine, each a /30 of its own.

    Args:
        number: Tells hosts of one test apart, from 0.
    """

    def __init__(self, number: int) -> None:
        # Tests run side by side, in processes whose numbers differ.
        self._name = f"oq{os.getpid()}-{number}"
        place = (os.getpid() * 4 + number) % 4096
        self._front = _Cable(f"f{self._name}", place * 2)
        self._back = _Cable(f"b{self._name}", place * 2 + 1)

    @property
    def client_address(self) -> str:
        """The host's address as clients reach it."""
        return self._front.inner

    @property
    def outer_address(self) -> str:
        """This machine's address as the host reaches it."""
        return self._back.outer

    def __enter__(self) -> Self:
        require("ip")
        if not can_create_namespaces():
            pytest.skip("needs the right to make network namespaces (root)")
        _ip("netns", "add", self._name)
        _ip("-n", self._name, "link", "set", "lo", "up")
        for cable in (self._front, self._back):
            cable.lay(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        for cable in (self._front, self._back):
            cable.remove()
        _ip("netns", "delete", self._name)

    def command_inside(self, *command: str) -> Sequence[str]:
        """A command line that runs a command on the host."""
        return ("ip", "netns", "exec", self._name, *command)

    def disconnect(self) -> None:
        """Cut it off from this machine's servers, though not from clients."""
        _ip("link", "set", self._back.name, "down")

    def reconnect(self) -> None:
        """The cable is back."""
        _ip("link", "set", self._back.name, "up")


class _Cable:
    """Two network devices joined together: ours and the host's."""

    def __init__(self, name: str, place: int) -> None:
        self.name = name
        first = place * 4
        self.outer = f"{NETWORK}.{first // 256}.{first % 256 + 1}"
        self.inner = f"{NETWORK}.{first // 256}.{first % 256 + 2}"

    def lay(self, host: str) -> None:
        _ip("link", "add", self.name, "type", "veth", "peer", "name", f"{self.name}x")
        _ip("link", "set", f"{self.name}x", "netns", host)
        _ip("address", "add", f"{self.outer}/30", "dev", self.name)
        _ip("link", "set", self.name, "up")
        _ip("-n", host, "address", "add", f"{self.inner}/30", "dev", f"{self.name}x")
        _ip("-n", host, "link", "set", f"{self.name}x", "up")

    def remove(self) -> None:
        _ip("link", "delete", self.name)


def can_create_namespaces() -> bool:
    """Whether this machine lets us make network namespaces."""
    if shutil.which("ip") is None:
        return False
    name = f"oq{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        _ip("netns", "delete", name)
    return made.returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)

"""The worker on asyncio.

``serve`` runs it as a process, ``server`` moves bytes, ``service`` keeps time and runs
effects, ``client`` sends them.
"""

from openqoe.shells.asyncio_shell.serve import run
from openqoe.shells.asyncio_shell.server import Server
from openqoe.shells.asyncio_shell.service import Service

__all__ = ["Server", "Service", "run"]

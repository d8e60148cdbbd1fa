"""The worker on asyncio.

``serve`` runs it as a process, ``server`` moves bytes, ``service`` keeps time and runs
effects, ``client`` sends them; ``application`` is the worker under another server (ASGI).
"""

from openqoe.shells.extras import needs

with needs("asyncio"):
    from openqoe.shells.asyncio_shell.application import Application, asgi
    from openqoe.shells.asyncio_shell.serve import run
    from openqoe.shells.asyncio_shell.server import Server
    from openqoe.shells.asyncio_shell.service import Service

__all__ = ["Application", "Server", "Service", "asgi", "run"]

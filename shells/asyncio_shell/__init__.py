"""The worker on asyncio.

``serve`` runs it as a process, ``server`` moves bytes, ``service`` keeps time and runs effects,
``client`` sends them. ``asgi_application`` is the worker under another server (ASGI).
"""

from ..service.extras import needs

with needs("asyncio"):
    from .asgi_application import Application, asgi
    from .serve import run
    from .server import Server
    from .service import Service

__all__ = ["Application", "Server", "Service", "asgi", "run"]

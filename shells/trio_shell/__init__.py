"""The worker on Trio.

``serve`` runs it as a process, ``server`` moves bytes, ``service`` keeps time and runs effects,
``client`` sends them.
"""

from ..service.extras import needs

with needs("trio"):
    from .serve import run
    from .server import Server
    from .service import Service

__all__ = ["Server", "Service", "run"]

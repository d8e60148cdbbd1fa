"""The worker as a WSGI application, for gunicorn and other hosts.

``wsgi_application`` answers requests, ``service`` keeps time and runs effects, ``client`` sends
them.
"""

from typing import Any

from ..service.extras import needs

with needs("wsgi"):
    from .service import Service
    from .wsgi_application import (
        Application,
        close_all,
        create_application,
        default_application,
        start_or_exit,
    )

__all__ = ["Application", "Service", "close_all", "create_application", "start_or_exit"]


def __getattr__(name: str) -> Any:
    """Create ``application`` on access: wrong settings then stop the host, not its first request.

    ``gunicorn 'openqoe.shells.wsgi_shell:application'``
    """
    if name == "application":
        return default_application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

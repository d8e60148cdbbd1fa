"""The worker as a WSGI application, for gunicorn and other hosts.

``serve`` makes the application, ``server`` answers requests, ``service`` keeps time and
runs effects, ``client`` sends them.
"""

from openqoe.shells.wsgi_shell.serve import application, create_application, default_application
from openqoe.shells.wsgi_shell.server import Server, close_all
from openqoe.shells.wsgi_shell.service import Service

__all__ = [
    "Server",
    "Service",
    "application",
    "close_all",
    "create_application",
    "default_application",
]

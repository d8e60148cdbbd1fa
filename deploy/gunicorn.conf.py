"""gunicorn's settings for the OpenQoE worker:

    gunicorn -c deploy/gunicorn.conf.py 'openqoe.shells.wsgi_shell:application'

Options of the command line win over this file.
"""

from typing import Any

# Wrong settings end gunicorn here, with a message.
from openqoe.shells.wsgi_shell import application, close_all, start_or_exit

bind = "127.0.0.1:8787"
# How many processes: -w N, or WEB_CONCURRENCY. They share a store in the data directory.
worker_class = "gthread"
threads = 16
# Connections of one process. Players keep theirs open, and further ones would not be accepted.
worker_connections = 10_000
# The last flush has OPENQOE_SHUTDOWN_TIMEOUT (10 s) from the end of the last request on.
graceful_timeout = 30


def post_worker_init(worker: Any) -> None:
    """The worker process is ready: start its service before the first request needs it."""
    if worker.wsgi is application:  # and not an application that mounts one of ours
        start_or_exit(application)


def worker_exit(server: Any, worker: Any) -> None:
    """The worker process ends (stop, reload, max_requests): flush and deliver."""
    close_all()

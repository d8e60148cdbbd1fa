"""gunicorn's settings for the OpenQoE worker:

    gunicorn -c deploy/gunicorn.conf.py 'openqoe.shells.wsgi_shell:application'

Command-line options take precedence over this file. A buffering proxy is required in front of it
(deploy/nginx/openqoe.conf): every request that a client sends slowly holds a thread.
"""

from typing import Any

# With invalid settings this import ends gunicorn with a message.
from openqoe.shells.wsgi_shell import application, close_all, start_or_exit

bind = "127.0.0.1:8787"
# Number of processes: -w N or WEB_CONCURRENCY, which the service reads, too: the processes divide
# the views. If you set it here (workers = N), set OPENQOE_WORKERS=N as well.
worker_class = "gthread"
threads = 16
# Connections per process. Players keep theirs open; connections over the limit are not accepted.
worker_connections = 10_000
# After the last request the worker has OPENQOE_SHUTDOWN_TIMEOUT (10 s) for the last flush.
graceful_timeout = 30


def post_worker_init(worker: Any) -> None:
    """Start the service of a new worker process before its first request."""
    if worker.wsgi is application:  # not another application that mounts it
        start_or_exit(application)


def worker_exit(server: Any, worker: Any) -> None:
    """Flush and deliver when a worker process ends (stop, reload, max_requests)."""
    close_all()

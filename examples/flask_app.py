"""The worker in a Flask application that exists already, under ``/qoe``.

``create_application`` makes a WSGI application out of settings; werkzeug's dispatcher sends it
the requests below one path and leaves all others to Flask. Players post to ``/qoe/v1/events``.
A background thread, which starts with the process's first request to the worker, delivers;
the last flush comes when the process ends. (``pip install 'openqoe-worker[wsgi]' flask``)

    PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write python examples/flask_app.py 5000
    PROMETHEUS_URL=… gunicorn --chdir examples flask_app:application
"""

import os
import signal
import sys

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import run_simple

from openqoe.core import Config
from openqoe.shells.wsgi_shell import create_application

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """A page of the existing application."""
    return "<h1>My application</h1>"


@app.get("/health")
def health() -> dict[str, bool]:
    """Its health; the worker's own is at /qoe/health."""
    return {"ok": True}


qoe = create_application(Config.from_environment(os.environ))

# What the server is to run. (``app.wsgi_app = DispatcherMiddleware(app.wsgi_app, …)`` has the same
# effect where the server runs ``app`` itself, as ``flask run`` does.)
application = DispatcherMiddleware(app, {"/qoe": qoe})


def main() -> None:
    """Serve with werkzeug's development server until SIGTERM or SIGINT."""
    # Python ends at SIGTERM immediately by default: no ``finally``, no atexit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
    finally:
        qoe.close()


if __name__ == "__main__":
    main()

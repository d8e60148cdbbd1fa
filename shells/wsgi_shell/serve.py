"""Makes the WSGI application, for a host to serve."""

import os
from collections.abc import Iterable
from functools import cache

from openqoe.core.config import Config
from openqoe.shells.wsgi_shell.server import Environ, Server, StartResponse


def create_application(config: Config | None = None) -> Server:
    """An application with these settings, or those of the environment.

    Call it as PEP 3333 says, and its ``close`` when the host ends (it also runs at exit).

    Raises:
        SettingsError: The environment holds wrong settings.
    """
    return Server(Config.from_environment(os.environ) if config is None else config)


@cache
def default_application() -> Server:
    """The application with the settings of the environment, made when it is first needed."""
    return create_application()


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """``gunicorn 'openqoe.shells.wsgi_shell:application'``"""
    return default_application()(environ, start_response)

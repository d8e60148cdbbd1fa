"""Effects of a WSGI process: HTTP requests to destinations, with pooled connections."""

from openqoe.shells.httpx_client import Client

__all__ = ["Client"]

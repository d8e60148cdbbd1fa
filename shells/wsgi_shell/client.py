"""Effects of a WSGI process: HTTP requests to destinations, with pooled connections."""

from ..net.httpx_client import Client

__all__ = ["Client"]

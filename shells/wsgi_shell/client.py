"""HTTP requests to destinations in a WSGI process, with pooled connections."""

from ..net.httpx_client import Client

__all__ = ["Client"]

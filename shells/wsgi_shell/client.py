"""Effects of a WSGI process: HTTP requests to destinations, with pooled connections."""

from openqoe.shells.httpx_client import MAX_ANSWER, Client

__all__ = ["MAX_ANSWER", "Client"]

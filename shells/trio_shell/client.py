"""HTTP requests to destinations on Trio, with pooled connections."""

from ..net.httpx_client import Client

__all__ = ["Client"]

"""HTTP as values: requests and responses, and HTTP/1.1 connections that speak in bytes.

``messages`` is what the rest of the core knows of HTTP, whatever carried it. The other
modules are the server side of HTTP/1.1, for shells that have only a socket; begin with
``connection``. On its way a request passes ``grammar`` (are these bytes HTTP?),
``framing`` (where does the body end?), a parser (``parser``: h11 or httptools) and
``head``; its answer passes ``response``. Nothing here does I/O or looks at a clock.
"""

from .connection import Connection
from .connection_limits import HttpLimits
from .connection_set import ConnectionSet
from .messages import Request, Response
from .parser import Parser
from .parser_choice import select_parser
from .refusal import MakeRefusal, RefusedError, make_plain_refusal

__all__ = [
    "Connection",
    "ConnectionSet",
    "HttpLimits",
    "MakeRefusal",
    "Parser",
    "RefusedError",
    "Request",
    "Response",
    "make_plain_refusal",
    "select_parser",
]

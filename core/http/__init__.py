"""HTTP as values: requests, responses, and sans-IO HTTP/1.1 connections.

``messages`` is all that the rest of the core knows of HTTP, whichever server received the request.
The other modules are the server side of HTTP/1.1 for shells that have only a socket; start with
``connection``. A request passes ``grammar`` (are the bytes HTTP?), ``framing`` (where does the body
end?), a parser (``parser``: h11 or httptools) and ``head``; its response passes
``response_encoder``. Nothing here does I/O or reads a clock.
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

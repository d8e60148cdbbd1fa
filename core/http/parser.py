"""Interface of a parser of request heads: one function from bytes to a ``Head``.

Two libraries implement it: h11, pure Python and always installed, and httptools (llhttp, the parser
of Node.js), optional and many times faster; ``parser_choice`` selects one. A parser receives a head
only after ``grammar`` and ``framing`` have accepted it, and never a body. A head must satisfy these
rules and the library: if the library rejects it, the request is refused.
"""

from collections.abc import Callable
from typing import NamedTuple


class Head(NamedTuple):
    """The parsed head of a request, not interpreted.

    Attributes:
        method: Method as sent.
        target: Request target in any of its forms.
        version: "1.0" or "1.1".
        fields: Names and values of the header fields in order; names are in any case, and values
            may end in white space.
    """

    method: bytes
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]


class MalformedHeadError(ValueError):
    """The library rejects the head."""


Parser = Callable[[bytes], Head]
"""Parses one complete head, from the request line to the empty line; raises MalformedHeadError."""

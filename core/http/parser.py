"""The interface of a request-head parser: one function from the bytes of a head to a ``Head``.

Two libraries implement it: h11, pure Python and always installed, and httptools (llhttp, the
parser of Node.js), many times faster and optional; ``parser_choice`` selects one.
They are given a head only after ``grammar`` and
``framing`` have let it pass, and never a body; what is left to them is to take it apart.
Should one of them refuse what those let pass, the request is refused: a head must please
both the rules written here and the library.
"""

from collections.abc import Callable
from typing import NamedTuple


class Head(NamedTuple):
    """The head of a request, taken apart but not interpreted.

    Attributes:
        method: As sent.
        target: The request target in whichever of its forms.
        version: "1.0" or "1.1".
        fields: Names and values of the header fields in order, the names in any case,
            white space behind a value possibly still there.
    """

    method: bytes
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]


class MalformedHeadError(ValueError):
    """The library does not accept this head."""


Parser = Callable[[bytes], Head]
"""Takes one complete head, from the request line to the empty line; raises MalformedHeadError."""

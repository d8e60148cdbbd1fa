"""Selection of the library that parses request heads."""

from functools import cache

from .parser import Parser


@cache
def select_parser(name: str) -> Parser:
    """Return the parser of a library, "h11" or "httptools"; "auto" is the fastest installed one.

    Raises:
        ImportError: The library is not installed.
    """
    if name != "h11":
        try:
            from . import httptools_parser
        except ImportError:
            if name != "auto":
                raise
        else:
            return httptools_parser.parse_head
    from . import h11_parser

    return h11_parser.parse_head

"""Refusal of requests that the HTTP layer cannot read or that exceed a limit.

The code that reads the bytes raises ``RefusedError``; the connection responds and closes. The owner
builds the response (``MakeRefusal``), because every response of the worker needs CORS headers,
which this layer does not know.
"""

import json
from collections.abc import Callable, Mapping

from .messages import Response

MakeRefusal = Callable[[int, str, Mapping[str, str]], Response]
"""Builds the response to a refused request from the status, a message and the request's headers by
lower-case name. The headers are empty if the head is incomplete or malformed, because such a head
cannot be trusted."""


class RefusedError(Exception):
    """A request that cannot be read or exceeds a limit.

    Attributes:
        status: Status code of the response.
        message: Fault, for the body of the response; never contains a part of the request.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def make_plain_refusal(status: int, message: str, headers: Mapping[str, str]) -> Response:
    """Build the default refusal: JSON without CORS headers."""
    body = json.dumps({"success": False, "message": message}, separators=(",", ":"))
    return Response(status, (("Content-Type", "application/json"),), body.encode())

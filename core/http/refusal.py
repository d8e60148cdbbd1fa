"""Requests that are answered with an error before anybody has seen them.

Whatever reads the bytes raises ``RefusedError``; the connection turns it into a response and
closes. What that response looks like is the owner's to say (``MakeRefusal``), because every
answer of the worker carries CORS headers, and which ones is not this layer's business.
"""

import json
from collections.abc import Callable, Mapping

from .messages import Response

MakeRefusal = Callable[[int, str, Mapping[str, str]], Response]
"""Makes the response to a refused request from the status, a message for people and the
request's headers by lower-case name. The headers are empty if the head of the request was
never read to its end or is itself at fault: nothing in such a head is to be believed."""


class RefusedError(Exception):
    """A request that cannot be read, or not within the limits.

    Attributes:
        status: The status code of the answer.
        message: What is wrong, for the answer's body. Never holds a part of the request.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def make_plain_refusal(status: int, message: str, headers: Mapping[str, str]) -> Response:
    """The answer of a connection whose owner has no wishes of its own: JSON, no CORS."""
    body = json.dumps({"success": False, "message": message}, separators=(",", ":"))
    return Response(status, (("Content-Type", "application/json"),), body.encode())

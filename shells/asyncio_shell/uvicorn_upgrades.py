"""uvicorn accepts requests that offer an upgrade to HTTP/2.

Every Java HttpClient sends ``Upgrade: h2c`` with its first request. A server may ignore the offer
(RFC 9110, 7.8). But uvicorn's parser, httptools, ends a request at the head if there is an upgrade
that uvicorn does not support, and discards the body. So the offer is removed before it is parsed.
"""

import re
import sys
from typing import Any

_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)


def ignore_http2_offers() -> None:
    """Remove ``Upgrade: h2c`` from requests to uvicorn, if this process is uvicorn's."""
    module = sys.modules.get("uvicorn.protocols.http.httptools_impl")
    if module is None or getattr(module.HttpToolsProtocol, "ignores_http2_offers", False):
        return
    original = module.HttpToolsProtocol.data_received

    def data_received(self: Any, data: bytes) -> None:
        original(self, _OFFER.sub(b"", data, count=1) if b"h2c" in data else data)

    module.HttpToolsProtocol.data_received = data_received
    module.HttpToolsProtocol.ignores_http2_offers = True

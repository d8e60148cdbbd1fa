"""Where a request's body ends: RFC 9112, sections 6 and 7.

This is the other half of what keeps requests from being smuggled (see ``grammar``), and
again the parsers differ: llhttp does not see a transfer coding in ``chunked<TAB>``, h11
does; h11 takes ``5 `` for a chunk size and lets a bare CR pass in an extension, llhttp
does not; h11 takes the chunked coding where a Content-Length stands beside it. So the
parsers read heads only, and bodies are cut here, once. Where the RFC leaves a choice to
the server between refusing and guessing, we refuse.
"""

import re

import msgspec

from .grammar import HOST, TOKEN_LIST, are_field_lines
from .refusal import RefusedError

_FRAMING_FIELD = re.compile(rb"\n(host|content-length|transfer-encoding):[ \t]*+([^\r]*+)")
_LENGTH = re.compile(rb"[0-9]{1,18}")  # more digits do not fit every implementation's integer
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?")
_CHUNK_SIZE_DIGITS = 16


class Framing(msgspec.Struct, frozen=True, gc=False):
    """How the body of a request is delimited.

    Attributes:
        length: Bytes of the body; 0 if it is chunked.
        chunked: Whether it comes in the chunked transfer coding.
    """

    length: int = 0
    chunked: bool = False


NO_BODY = Framing()


def read_framing(head: bytes) -> Framing:
    """Say how the body behind a head ends, and judge Host, without which 1.1 is not 1.1.

    It works on the bytes, not on a parser's fields, because the parsers have opinions
    about these three fields and would refuse first, each in its own words.

    Args:
        head: A head that ``grammar.check_head`` let pass.

    Raises:
        RefusedError: It is doubtful where the body ends, or for whom the request is.
    """
    hosts, lengths, codings = [], [], []
    for name, value in _FRAMING_FIELD.findall(head.lower()):
        if name == b"host":
            hosts.append(value.rstrip(b" \t"))
        elif name == b"content-length":
            lengths.append(value.rstrip(b" \t"))
        else:
            codings.append(value.rstrip(b" \t"))
    is_1_0 = head[: head.index(b"\r")].endswith(b"0")
    if len(hosts) > 1 or (not hosts and not is_1_0):
        raise RefusedError(400, "Exactly one Host header is required")
    if hosts and HOST.fullmatch(hosts[0]) is None:
        raise RefusedError(400, "Malformed Host header")
    if codings:
        if lengths or len(codings) > 1 or is_1_0:
            raise RefusedError(400, "Ambiguous Transfer-Encoding header")
        _check_coding(codings[0])
        return Framing(chunked=True)
    if not lengths:
        return NO_BODY
    # Two that are equal are refused as well: somebody on the way has added one.
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise RefusedError(400, "Malformed Content-Length header")
    return Framing(length=int(lengths[0]))


def _check_coding(coding: bytes) -> None:
    """Accept chunked, and nothing else: 501 for what other servers may know, else 400."""
    if coding == b"chunked":
        return
    if TOKEN_LIST.fullmatch(coding):
        names = [name.strip(b" \t") for name in coding.split(b",")]
        if b"chunked" not in names[:-1]:
            raise RefusedError(501, "Transfer coding not implemented")
    raise RefusedError(400, "Malformed Transfer-Encoding header")


class ChunkedBody:
    """Takes the chunked coding off a body, as it arrives.

    It keeps the data and nothing else; a chunk that would exceed the limit is refused
    when its size is read. Extensions and trailer fields are read and forgotten, as long
    as they are not longer than a head may be. Each byte is looked at a fixed number of
    times, so that many tiny chunks, or one that trickles in, cost no more than their
    length.
    """

    def __init__(self, *, max_bytes: int, max_overhead: int) -> None:
        """
        Args:
            max_bytes: How much data there may be.
            max_overhead: How many bytes of chunk extensions and trailer fields.
        """
        self._data = bytearray()
        self._max_bytes = max_bytes
        self._overhead_left = max_overhead
        self._chunk_left = 0
        self._wants_end_of_chunk = False
        self._in_trailer = False
        self._searched = 0  # bytes at the buffer's front known to hold no end of line

    def body(self) -> bytes:
        """The data so far."""
        return bytes(self._data)

    def __len__(self) -> int:
        """Bytes of the data so far."""
        return len(self._data)

    def consume(self, buffer: bytearray) -> bool:
        """Take from the front of the buffer what belongs to the body.

        Returns:
            Whether the body is complete. What is left in the buffer is then not its own.

        Raises:
            RefusedError: It is malformed or too large.
        """
        position = 0
        while not self._in_trailer:
            start = position
            if self._chunk_left:
                position = self._consume_data(buffer, position)
            elif self._wants_end_of_chunk:
                position = self._consume_end_of_chunk(buffer, position)
            else:
                position = self._consume_size(buffer, position)
            if position == start:
                break
        # One deletion for all chunks: what is behind them need not move for each.
        del buffer[:position]
        return self._in_trailer and self._consume_trailer(buffer)

    def _consume_data(self, buffer: bytearray, position: int) -> int:
        data = buffer[position : position + self._chunk_left]
        self._data += data
        self._chunk_left -= len(data)
        return position + len(data)

    def _consume_end_of_chunk(self, buffer: bytearray, position: int) -> int:
        end = buffer[position : position + 2]
        if not b"\r\n".startswith(end):
            raise RefusedError(400, "Malformed chunk")
        if len(end) < 2:
            return position
        self._wants_end_of_chunk = False
        return position + 2

    def _consume_size(self, buffer: bytearray, position: int) -> int:
        line = self._extract(buffer, position, b"\r\n", extra=_CHUNK_SIZE_DIGITS)
        if line is None:
            return position
        parts = _CHUNK_LINE.fullmatch(line)
        if parts is None:
            raise RefusedError(400, "Malformed chunk size")
        self._overhead_left -= len(line) - len(parts[1])
        if self._overhead_left < 0:
            raise RefusedError(431, "Chunk extensions or trailers too large")
        size = int(parts[1], 16)
        if len(self._data) + size > self._max_bytes:
            raise RefusedError(413, "Request body too large")
        self._chunk_left = size
        self._wants_end_of_chunk = size > 0
        self._in_trailer = size == 0
        return position + len(line) + 2

    def _consume_trailer(self, buffer: bytearray) -> bool:
        if not b"\r\n".startswith(buffer[:2]):
            lines = self._extract(buffer, 0, b"\r\n\r\n")
            if lines is None:
                return False
            if not are_field_lines(lines + b"\r\n"):
                raise RefusedError(400, "Malformed trailer")
            del buffer[: len(lines) + 4]
            return True
        if len(buffer) < 2:
            return False
        del buffer[:2]
        return True

    def _extract(
        self, buffer: bytearray, position: int, end: bytes, *, extra: int = 0
    ) -> bytes | None:
        """What stands before ``end``, or None if that has not come yet.

        Raises:
            RefusedError: It is longer than what is left of the overhead, and ``extra`` bytes.
        """
        limit = position + self._overhead_left + extra + len(end)
        found = buffer.find(end, position + self._searched, limit)
        if found >= 0:
            self._searched = 0
            return bytes(buffer[position:found])
        if len(buffer) >= limit:
            raise RefusedError(431, "Chunk extensions or trailers too large")
        self._searched = max(0, len(buffer) - position - len(end) + 1)
        return None

"""Message framing: where the body of a request ends (RFC 9112, sections 6 and 7).

Like ``grammar``, this prevents request smuggling, because parsers differ here too: llhttp ignores
a transfer coding in ``chunked<TAB>``, h11 accepts it; h11 accepts ``5 `` as a chunk size and a bare
CR in an extension, llhttp does not; h11 accepts the chunked coding beside a Content-Length. So
parsers read heads only, and bodies are delimited here. Where the RFC lets the server reject or
guess, this module rejects.
"""

import re

import msgspec

from .grammar import HOST, TOKEN_LIST, are_field_lines
from .refusal import RefusedError

_FRAMING_FIELD = re.compile(rb"\n(host|content-length|transfer-encoding):[ \t]*+([^\r]*+)")
_LENGTH = re.compile(rb"[0-9]{1,18}")  # more digits overflow some implementations
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?")
_CHUNK_SIZE_DIGITS = 16


class Framing(msgspec.Struct, frozen=True, gc=False):
    """Delimitation of a request body.

    Attributes:
        length: Bytes of the body; 0 if it is chunked.
        chunked: Whether the body has the chunked transfer coding.
    """

    length: int = 0
    chunked: bool = False


NO_BODY = Framing()


def read_framing(head: bytes) -> Framing:
    """Return the framing of the body after a head, and check Host (RFC 9112, 3.2).

    This reads the bytes, not a parser's fields, because the parsers treat these three fields
    differently and would reject some heads first, each with its own message.

    Args:
        head: A head that ``grammar.check_head`` accepted.

    Raises:
        RefusedError: The end of the body or the host is ambiguous.
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
    # Two equal lengths are refused as well (RFC 9112, 6.3 allows it): an intermediary added one.
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise RefusedError(400, "Malformed Content-Length header")
    return Framing(length=int(lengths[0]))


def _check_coding(coding: bytes) -> None:
    """Accept "chunked" only; refuse other well-formed codings with 501, the rest with 400."""
    if coding == b"chunked":
        return
    if TOKEN_LIST.fullmatch(coding):
        names = [name.strip(b" \t") for name in coding.split(b",")]
        if b"chunked" not in names[:-1]:
            raise RefusedError(501, "Transfer coding not implemented")
    raise RefusedError(400, "Malformed Transfer-Encoding header")


class ChunkedBody:
    """Incremental decoder of the chunked coding (RFC 9112, 7.1).

    It keeps the data only. A chunk that would exceed the limit is refused when its size is read.
    Extensions and trailer fields are skipped, within a limit. Each byte is scanned a fixed number
    of times, so that the cost of many tiny or slow chunks is linear in their length.
    """

    def __init__(self, *, max_bytes: int, max_overhead: int) -> None:
        """
        Args:
            max_bytes: Maximum bytes of data.
            max_overhead: Maximum bytes of chunk extensions and trailer fields.
        """
        self._data = bytearray()
        self._max_bytes = max_bytes
        self._overhead_left = max_overhead
        self._chunk_left = 0
        self._wants_end_of_chunk = False
        self._in_trailer = False
        self._searched = 0  # bytes at the front of the buffer without an end of line

    def body(self) -> bytes:
        """Return the data so far."""
        return bytes(self._data)

    def __len__(self) -> int:
        """Bytes of the data so far."""
        return len(self._data)

    def consume(self, buffer: bytearray) -> bool:
        """Remove the bytes of the body from the front of the buffer and decode them.

        Returns:
            Whether the body is complete; the buffer then starts with the next request.

        Raises:
            RefusedError: The body is malformed or too large.
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
        # One deletion for all chunks, so that the rest of the buffer moves once.
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
        """Return the bytes before ``end``, or None if ``end`` has not arrived yet.

        Raises:
            RefusedError: They exceed the remaining overhead plus ``extra`` bytes.
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

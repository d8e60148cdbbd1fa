"""Server side of one HTTP/1.1 connection, sans-IO: bytes in, requests out, bytes out.

A ``Connection`` holds all state of a connection except the socket. Its owner, a shell, runs this
loop and makes no decision of its own:

    connection = Connection(limits, now)
    until connection.should_close:
        read, no longer than until connection.deadline
        connection.receive_data(data, now)      or handle_timeout(now) at the deadline
        while request := connection.next_request(now):
            write connection.send_response(answer to the request, now)
        write connection.data_to_send()
        if the client does not read it: connection.pause_writing(now), then resume_writing(now)
    close: lingering if connection.linger, at once if connection.is_lost

``ConnectionState`` is a cycle:

    IDLE -> HEAD -> BODY -> READY -> HANDLING -> IDLE ...     and from each to CLOSED

In IDLE, HEAD and BODY the client must act before a deadline; READY and HANDLING are the server's
time. In every state, a client that does not read responses has a deadline to do so. Pipelined
requests wait in the buffer, unparsed, until the previous response is sent, so responses leave in
order; ``next_request`` then continues to parse. An unreadable request ends in ``_refuse``: one
response, then CLOSED, because the start of the next request is unknown.
"""

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from .connection_limits import HttpLimits, MemoryBudget, ignore_eviction
from .framing import NO_BODY, ChunkedBody
from .grammar import check_partial_head
from .head import RequestHead, read_head
from .messages import Request, Response
from .parser import Parser
from .parser_choice import select_parser
from .refusal import MakeRefusal, RefusedError, make_plain_refusal
from .response_encoder import CONTINUE, encode_response

_EMPTY_LINES = re.compile(rb"(?:\r\n)++")

FIRST_REQUEST_GRACE_MS: Final = 1_000
"""Time for which a shutdown waits for the first request of a new client; it may be in flight."""

LINGER_MS: Final = 2_000
"""Time for which a client that was refused while it was sending may read the response."""


class ConnectionState(Enum):
    """State of a connection."""

    IDLE = auto()  # no byte of a request yet
    HEAD = auto()  # a request line has begun
    BODY = auto()  # the head is read
    READY = auto()  # a complete request waits for next_request
    HANDLING = auto()  # a request was returned and waits for send_response
    CLOSED = auto()  # no more data is read


# Plain names, because the lookup of an enum's member is slow and there are several per request.
_IDLE, _HEAD, _BODY, _READY, _HANDLING, _CLOSED = ConnectionState


class Connection:
    """Connection to one client. Every ``now`` is in ms since the epoch."""

    def __init__(
        self,
        limits: HttpLimits,
        now: int,
        parser: Parser | None = None,
        *,
        refuse: MakeRefusal = make_plain_refusal,
        is_secure: bool = False,
        budget: MemoryBudget | None = None,
        on_eviction: Callable[[], None] = ignore_eviction,
        client: str = "",
    ) -> None:
        """
        Args:
            limits: Limits in bytes and ms.
            now: Time at which the connection was accepted.
            parser: Parser of request heads; by default the fastest that is installed.
            refuse: Builds the response to an unreadable request.
            is_secure: Whether the connection uses TLS.
            budget: Memory budget shared with other connections; by default, two requests.
            on_eviction: Called when a call of another connection has evicted this one's request
                to free memory. The owner must then send ``data_to_send`` and close if it
                ``should_close``.
            client: IP address of the client; "" if unknown.
        """
        self._client = client
        self._budget = budget or MemoryBudget(2 * (limits.max_header_bytes + limits.max_body_bytes))
        self._budgeted_bytes = 0
        self._budget.holders.add(self)
        self._on_eviction = on_eviction
        self._limits = limits
        self._is_secure = is_secure
        self._parse = select_parser("auto") if parser is None else parser
        self._make_refusal = refuse
        self._state = _IDLE
        self._started_at = now  # start of IDLE, or of HEAD and BODY together
        self._last_data_at = now  # arrival of the last data
        self._first_byte_at = now  # arrival of the current request's first byte
        self._buffer = bytearray()
        self._checked_bytes = 0  # bytes of an incomplete head that were checked
        self._head: RequestHead | None = None
        self._head_bytes = 0  # of the current request
        self._chunks: ChunkedBody | None = None
        self._request: Request | None = None
        self._outgoing = b""
        self._input_ended = False  # the client has shut down its sending side
        self._discards_input = False  # received data is discarded
        self._is_new = True  # no response has been sent
        self._is_shutting_down = False  # close after the current request
        self._grace_end: int | None = None  # deadline of the first request at a shutdown
        self._blocked_since: int | None = None  # start of backpressure by the client
        self._response_bytes = 0  # of the latest response
        self._unsent_bytes = 0  # of it, while the client does not read
        self._is_lost = False
        self._linger = 0

    @property
    def should_close(self) -> bool:
        """Whether to close after all pending data is sent."""
        return self._state is _CLOSED

    @property
    def linger(self) -> int:
        """Time for which to continue reading when closing, ms.

        If a socket is closed while the client is still sending, the client's kernel discards the
        last response, perhaps unread. So unless this is 0, shut down the sending side only, and
        read until the client closes or the time is over. The data may be ignored or passed to
        ``receive_data``.
        """
        return self._linger

    @property
    def is_lost(self) -> bool:
        """Whether to close at once and discard unsent data, because the client does not read."""
        return self._is_lost

    @property
    def is_idle(self) -> bool:
        """Whether no request has started, so that closing loses nothing."""
        return self._state is _IDLE and not self._buffer

    @property
    def can_receive(self) -> bool:
        """Whether more data is useful now.

        A shell that stops reading while this is False applies backpressure to pipelining clients.
        A shell that continues, to detect a disconnect, uses memory within the budget.
        """
        return self._state in (_IDLE, _HEAD, _BODY) and not self._input_ended

    @property
    def has_pipelined_data(self) -> bool:
        """Whether data of the next request waits until the current one is answered."""
        return bool(self._buffer) and self._state in (_READY, _HANDLING)

    @property
    def deadline(self) -> int | None:
        """Time at which to call ``handle_timeout``; None if there is no deadline."""
        if self._blocked_since is not None:
            # A client that does not read gets as long as one that does not send.
            return self._blocked_since + self._limits.request_timeout
        if self._state is _IDLE:
            silent = self._started_at + self._limits.keep_alive_timeout
            return silent if self._grace_end is None else min(silent, self._grace_end)
        if self._state in (_HEAD, _BODY):
            return self._started_at + self._limits.request_timeout
        return None

    def receive_data(self, data: bytes, now: int) -> None:
        """Process received data.

        Args:
            data: The bytes; b"" if the client has shut down its sending side.
            now: Arrival of the data; earlier than the current time if the kernel queued it.
        """
        if self._input_ended or self._discards_input:
            return
        self._last_data_at = now
        if not data:
            self._input_ended = True
            self._linger = 0
        if self._read_whole_request(data, now):
            self._update_budget(now)
            return
        self._buffer += data
        if self._state not in (_READY, _HANDLING):
            self._read(now)
        elif len(self._buffer) > self._limits.max_header_bytes + self._limits.max_body_bytes:
            # More than a whole pipelined request. Only the current request is answered; the
            # client sees the connection close and sends the others again.
            self._discard_input()
        self._update_budget(now)

    def next_request(self, now: int) -> Request | None:
        """Return the next complete request.

        Returns:
            None if more data is needed or the last request is not answered yet.
        """
        if self._state is _IDLE and (self._buffer or self._input_ended):
            self._read(now)
        if self._state is not _READY:
            return None
        self._state = _HANDLING
        request, self._request = self._request, None
        self._update_budget(now)
        return request

    def data_to_send(self) -> bytes:
        """Return, once, data of the connection itself: 100 Continue, or a refusal."""
        data, self._outgoing = self._outgoing, b""
        return data

    def send_response(self, response: Response, now: int, *, close: bool = False) -> bytes:
        """Encode the response to the request that ``next_request`` returned.

        Args:
            response: The response, without the headers that the connection adds: Connection,
                Content-Length, Date, Transfer-Encoding.
            now: Current time.
            close: Close the connection after the response, for a shutdown.

        Returns:
            The bytes to send.

        Raises:
            ValueError: The response is invalid (see ``encode_response``); send another instead.
            RuntimeError: No request waits for a response.
        """
        head = self._head
        if self._state is not _HANDLING or head is None:
            raise RuntimeError("no request waits for an answer")
        keep = head.keep_alive and not (close or self._is_shutting_down or self._discards_input)
        keep = keep and not (self._input_ended and not self._buffer)
        data = encode_response(
            response,
            now,
            to_head=head.method == "HEAD",
            connection="close" if not keep else "keep-alive" if head.is_1_0 else "",
        )
        self._response_bytes = len(data)
        self._head = None
        self._is_new = False
        if keep:
            self._state, self._started_at = _IDLE, now
        else:
            self._close(linger=head.keep_alive)
        return data

    def release(self) -> None:
        """Release all memory, after the client has disconnected."""
        self._close()
        self._budget.holders.discard(self)

    def held_byte_ms(self, now: int) -> int:
        """Return the bytes held times the ms since the request's first byte."""
        return self._budgeted_bytes * max(1, now - self._first_byte_at)

    def evict(self, now: int) -> None:
        """Release the memory of an incomplete or unread request; the client must send it again."""
        if self._blocked_since is not None:
            self._blocked_since, self._is_lost = None, True
            self._close()
        elif self._state in (_HEAD, _BODY):
            self._refuse(RefusedError(503, "Too many requests at once"), now)
        elif self._state is _HANDLING:
            self._discard_input()
            self._update_budget(now)
        else:  # the next step of its owner processes the request
            return
        self._on_eviction()

    def pause_writing(self, now: int) -> None:
        """Note that output waits because the client does not read; starts a deadline."""
        if self._blocked_since is None:
            self._blocked_since = now
            self._unsent_bytes = self._response_bytes
            self._update_budget(now)

    def resume_writing(self, now: int) -> None:
        """Note that no output waits any more."""
        if self._blocked_since is not None and self._state is _IDLE:
            self._started_at = now
        self._blocked_since = None
        self._unsent_bytes = 0
        self._update_budget(now)

    def stop(self, now: int) -> None:
        """Complete a request that has started and then close; close at once if there is none.

        A new client gets a moment, because its first request may be in flight, and clients retry
        on a closed connection only after a successful request (RFC 9112, 9.3.1).
        """
        self._is_shutting_down = True
        if self.is_idle and self._is_new:
            self._grace_end = now + FIRST_REQUEST_GRACE_MS
        elif self.is_idle:
            self._close()

    def refuse_client(self, now: int) -> None:
        """Respond 503 and close, because there are too many connections."""
        self._refuse(RefusedError(503, "Too many connections"), now)

    def handle_timeout(self, now: int) -> None:
        """Act on an expired ``deadline``; before it, this does nothing."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        if self._blocked_since is not None:
            self._blocked_since, self._is_lost = None, True
            self._close()
        elif self._state is _IDLE:
            self._close()
        else:
            self._refuse(RefusedError(408, "Request not received in time"), now)

    def _read_whole_request(self, data: bytes, now: int) -> bool:
        """Read a request that arrived in one piece, as nearly all do, without the buffer.

        This fast path halves the cost. Any unusual request goes through the buffer instead.

        Returns:
            Whether a request was read.
        """
        if self._buffer or self._state is not _IDLE:
            return False
        end = data.find(b"\r\n\r\n", 0, self._limits.max_header_bytes) + 4
        if end < 4 or data.startswith(b"\r"):
            return False
        try:
            head = read_head(data[:end], self._parse)
        except RefusedError:
            return False
        framing = head.framing
        end_of_body = end + framing.length
        is_large = framing.length > self._limits.max_body_bytes
        if is_large or framing.chunked or head.expects or len(data) < end_of_body:
            return False
        self._started_at = self._first_byte_at = now
        self._head, body = head, data[end:end_of_body]
        self._head_bytes = end
        if len(data) > end_of_body:
            self._buffer += data[end_of_body:]
        self._request = head.with_body(
            body, now, now, is_secure=self._is_secure, client=self._client
        )
        self._state = _READY
        return True

    def _read(self, now: int) -> None:
        """Parse the current request as far as the buffer allows."""
        try:
            if self._state is _IDLE:
                self._read_start(now)
            if self._state is _HEAD:
                self._read_head()
            if self._state is _BODY:
                self._read_body()
            if self._input_ended and self._state in (_HEAD, _BODY):
                raise RefusedError(400, "Request incomplete")
        except RefusedError as refused:
            self._refuse(refused, now)
        if self._input_ended and self._state is _IDLE:
            self._close()

    def _read_start(self, now: int) -> None:
        """Find the first byte of a request; empty lines before it are ignored (RFC 9112, 2.2)."""
        if empty := _EMPTY_LINES.match(self._buffer):
            del self._buffer[: empty.end()]
        if self._buffer and self._buffer != b"\r":  # which may become an empty line
            # The timeout starts now even if the first byte arrived while the previous request
            # was handled, because that was the server's time.
            self._state, self._started_at = _HEAD, now
            self._first_byte_at = self._last_data_at
            self._checked_bytes = 0

    def _read_head(self) -> None:
        limit = self._limits.max_header_bytes
        end = self._buffer.find(b"\r\n\r\n", max(0, self._checked_bytes - 3), limit)
        if end < 0:
            check_partial_head(self._buffer, self._checked_bytes, limit)
            self._checked_bytes = len(self._buffer)
            return
        self._head = head = read_head(bytes(self._buffer[: end + 4]), self._parse)
        del self._buffer[: end + 4]
        self._head_bytes = end + 4
        self._state = _BODY
        if head.framing.length > self._limits.max_body_bytes:
            raise RefusedError(413, "Request body too large")
        if head.framing.chunked:
            self._chunks = ChunkedBody(max_bytes=self._limits.max_body_bytes, max_overhead=limit)
        if head.expects == "100-continue":
            if not self._buffer and head.framing != NO_BODY:
                self._outgoing += CONTINUE
        elif head.expects:
            raise RefusedError(417, "Expectation not supported")

    def _read_body(self) -> None:
        head = self._head
        assert head is not None
        if self._chunks is not None:
            if not self._chunks.consume(self._buffer):
                return
            body, self._chunks = self._chunks.body(), None
        else:
            # The body stays in the buffer until it is complete and is copied once.
            length = head.framing.length
            if len(self._buffer) < length:
                return
            with memoryview(self._buffer) as view, view[:length] as part:
                body = bytes(part)
            del self._buffer[:length]
        self._request = head.with_body(
            body,
            self._first_byte_at,
            self._last_data_at,
            is_secure=self._is_secure,
            client=self._client,
        )
        self._state = _READY

    def _refuse(self, refused: RefusedError, now: int) -> None:
        """Respond to a request that ``next_request`` never returned, and close."""
        head = self._head
        response = self._make_refusal(refused.status, refused.message, head.headers if head else {})
        is_head = head.method == "HEAD" if head else self._buffer.startswith(b"HEAD ")
        self._outgoing += encode_response(response, now, to_head=is_head, connection="close")
        self._close(linger=True)

    def _update_budget(self, now: int) -> None:
        """Update the share of this connection in the memory budget, and keep within it.

        A response that the client does not read counts as well.
        """
        size = len(self._buffer) + self._unsent_bytes
        if self._state is _BODY:
            size += self._head_bytes
            if self._chunks is not None:
                size += len(self._chunks)
        elif self._request is not None:
            size += self._head_bytes + len(self._request.body)
        budget = self._budget
        budget.used += size - self._budgeted_bytes
        self._budgeted_bytes = size
        if budget.used > budget.limit and size:
            budget.make_room(now)

    def _discard_input(self) -> None:
        self._discards_input = True
        self._buffer.clear()

    def _close(self, *, linger: bool = False) -> None:
        self._discard_input()
        self._state = _CLOSED
        self._head = self._chunks = self._request = None
        self._unsent_bytes = 0
        self._budget.used -= self._budgeted_bytes
        self._budgeted_bytes = 0
        self._linger = LINGER_MS if linger and not self._input_ended else 0

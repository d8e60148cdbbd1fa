"""The server side of one HTTP/1.1 connection: bytes in, requests out, bytes out.

A ``Connection`` holds all that is to be known of a connection except the socket. Its
owner, a shell, does this, and makes no decision of its own:

    connection = Connection(limits, now)
    until connection.should_close:
        read, no longer than until connection.deadline
        connection.receive_data(data, now)      or handle_timeout(now) at the deadline
        while request := connection.next_request(now):
            write connection.send_response(answer to the request, now)
        write connection.data_to_send()
        if the client does not take it: connection.pause_writing(now), resume_writing(now)
    close, the lingering way if connection.linger, at once if connection.is_lost

The life of a connection is a cycle of the states of ``ConnectionState``:

    IDLE -> HEAD -> BODY -> READY -> HANDLING -> IDLE ...     and from each to CLOSED

In IDLE, HEAD and BODY the client is to act, and has a deadline; READY and HANDLING are our
time. In whatever state, a client that does not read has a deadline to take its answers.
Requests may be sent ahead (pipelined): they wait in the buffer, unread, until the one
before is answered, so answers can only leave in order. ``next_request`` then reads on.
Whatever cannot be read ends in ``_refuse``: one answer, then CLOSED, since nobody can say
where the next request would begin.
"""

import re
from enum import Enum, auto
from typing import Final

from .connection_limits import HttpLimits
from .framing import NO_BODY, ChunkedBody
from .grammar import check_partial_head
from .head import RequestHead, read_head
from .memory_budget import MemoryBudget
from .messages import Request, Response
from .parser import Parser
from .parser_choice import select_parser
from .refusal import MakeRefusal, RefusedError, make_plain_refusal
from .response_encoder import CONTINUE, encode_response

_EMPTY_LINES = re.compile(rb"(?:\r\n)++")

FIRST_REQUEST_GRACE_MS: Final = 1_000
"""How long, in ms, a new client's request is waited for at the stop: it may be on its way."""

LINGER_MS: Final = 2_000
"""How long, in ms, a client that was refused in the midst of sending gets to notice."""


class ConnectionState(Enum):
    """Where a connection is."""

    IDLE = auto()  # no byte of a request yet
    HEAD = auto()  # a request line has begun
    BODY = auto()  # the head is read
    READY = auto()  # a request is complete and waits for next_request
    HANDLING = auto()  # a request is out and waits for send_response
    CLOSED = auto()  # nothing is read any more


# Asked for several times in each request, and an enumeration takes its time to name a member.
_IDLE, _HEAD, _BODY, _READY, _HANDLING, _CLOSED = ConnectionState


class Connection:
    """One connection to one client. Every ``now`` is in ms since the epoch."""

    def __init__(
        self,
        limits: HttpLimits,
        now: int,
        parser: Parser | None = None,
        *,
        refuse: MakeRefusal = make_plain_refusal,
        is_secure: bool = False,
        budget: MemoryBudget | None = None,
    ) -> None:
        """
        Args:
            limits: What the client is granted.
            now: When the connection was opened.
            parser: Reads heads; by default the fastest that is installed.
            refuse: Makes the answer to a request that cannot be read.
            is_secure: Whether it is a TLS connection.
            budget: What it may hold together with others; by default, one request.
        """
        self._budget = budget or MemoryBudget(limits.max_header_bytes + limits.max_body_bytes)
        self._budgeted_bytes = 0
        self._limits = limits
        self._is_secure = is_secure
        self._parse = select_parser("auto") if parser is None else parser
        self._make_refusal = refuse
        self._state = _IDLE
        self._phase_started_at = now  # when IDLE, or HEAD and BODY together, began
        self._last_data_at = now  # when data last came
        self._first_byte_at = now  # when the first byte of the current request came
        self._buffer = bytearray()
        self._checked_bytes = 0  # bytes of an incomplete head that have been judged
        self._head: RequestHead | None = None
        self._chunks: ChunkedBody | None = None
        self._request: Request | None = None
        self._outgoing = b""
        self._input_ended = False  # the client has closed its sending side
        self._discards_input = False  # what comes is thrown away
        self._has_served_none = True  # no request has been answered
        self._is_shutting_down = False  # no request follows the one at hand
        self._close_if_silent_at: int | None = None  # when to close, if it is new and nothing comes
        self._write_blocked_since: int | None = None  # since when the client takes no output
        self._is_lost = False
        self._linger = 0

    @property
    def should_close(self) -> bool:
        """Whether to close, once what there is to send is sent."""
        return self._state is _CLOSED

    @property
    def linger(self) -> int:
        """For how many ms to keep reading when closing.

        If a socket is closed while the client still sends, the client's kernel throws
        away our last answer, perhaps unread. So when this is not 0, close the sending
        side only and read until the client closes or this time is over; the data needs
        no looking at, though it does no harm to pass it to ``receive_data``.
        """
        return self._linger

    @property
    def is_lost(self) -> bool:
        """Whether to close at once and give up what is not sent: the client does not read."""
        return self._is_lost

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun, so that closing loses nothing."""
        return self._state is _IDLE and not self._buffer

    @property
    def can_receive(self) -> bool:
        """Whether more data is of use now.

        A shell that does not read while this is False leaves requests that were sent
        ahead where they are, and the client feels it. One that reads on (to learn of a
        client that goes away) costs memory, of which there is a limit.
        """
        return self._state in (_IDLE, _HEAD, _BODY) and not self._input_ended

    @property
    def deadline(self) -> int | None:
        """When to call ``handle_timeout``; None while there is nothing to wait for."""
        if self._write_blocked_since is not None:
            # A client that does not read its answers has no claim on us for longer than one
            # that does not send its requests.
            return self._write_blocked_since + self._limits.request_timeout
        if self._state is _IDLE:
            silent = self._phase_started_at + self._limits.keep_alive_timeout
            return (
                silent
                if self._close_if_silent_at is None
                else min(silent, self._close_if_silent_at)
            )
        if self._state in (_HEAD, _BODY):
            return self._phase_started_at + self._limits.request_timeout
        return None

    def receive_data(self, data: bytes, now: int) -> None:
        """Take what the client has sent; b"" means that it has closed its sending side.

        Args:
            data: What has come.
            now: When it came. If it has lain with the system since, that is earlier than now.
        """
        if self._input_ended or self._discards_input:
            return
        self._last_data_at = now
        if not data:
            self._input_ended = True
            self._linger = 0
        if self._read_whole_request(data, now):
            self._account()
            return
        self._buffer += data
        if self._state not in (_READY, _HANDLING):
            self._read(now)
        elif len(self._buffer) > self._limits.max_header_bytes + self._limits.max_body_bytes:
            # More than a whole request sent ahead. The one at hand is answered, the rest
            # is not: the client sees the connection close and sends it again.
            self._discard_input()
        self._account()
        if self._budget.is_exceeded and self._state is _BODY:
            self._refuse(RefusedError(503, "Too many requests at once"), now)

    def next_request(self, now: int) -> Request | None:
        """The next complete request.

        Returns:
            None if more data is needed or the last request is not answered yet.
        """
        if self._state is _IDLE and (self._buffer or self._input_ended):
            self._read(now)
        if self._state is not _READY:
            return None
        self._state = _HANDLING
        request, self._request = self._request, None
        self._account()
        return request

    def data_to_send(self) -> bytes:
        """What the connection itself has to say, once: 100 Continue, or a refusal."""
        data, self._outgoing = self._outgoing, b""
        return data

    def send_response(self, response: Response, now: int, *, close: bool = False) -> bytes:
        """Answer the request that ``next_request`` gave.

        Args:
            response: The answer, without the headers that the connection writes itself:
                Connection, Content-Length, Date, Transfer-Encoding.
            now: The time.
            close: Close behind it although the client would go on, for a shutdown.

        Returns:
            What to send.

        Raises:
            ValueError: The response cannot be sent (see ``encode_response``). Another
                may be sent in its place.
            RuntimeError: There is no request to answer.
        """
        head = self._head
        if self._state is not _HANDLING or head is None:
            raise RuntimeError("no request waits for an answer")
        # Nothing more can come of a client that is done and has nothing in the buffer.
        keep = head.keep_alive and not (close or self._is_shutting_down or self._discards_input)
        keep = keep and not (self._input_ended and not self._buffer)
        data = encode_response(
            response,
            now,
            to_head=head.method == "HEAD",
            connection="close" if not keep else "keep-alive" if head.is_1_0 else "",
        )
        self._head = None
        self._has_served_none = False
        if keep:
            self._state, self._phase_started_at = _IDLE, now
        else:
            self._close(linger=head.keep_alive)
        return data

    def release(self) -> None:
        """The client is gone: hold nothing any more."""
        self._close()

    def pause_writing(self, now: int) -> None:
        """Tell that output waits because the client does not read."""
        if self._write_blocked_since is None:
            self._write_blocked_since = now

    def resume_writing(self, now: int) -> None:
        """Tell that nothing waits any more."""
        if self._write_blocked_since is not None and self._state is _IDLE:
            self._phase_started_at = now
        self._write_blocked_since = None

    def stop(self, now: int) -> None:
        """Serve a request that has begun and then close; without one close now.

        A client that has just come may have sent one already, and would not try again as one
        does whose connection was open for longer (RFC 9112, 9.3.1): it gets a moment.
        """
        self._is_shutting_down = True
        if self.is_idle and self._has_served_none:
            self._close_if_silent_at = now + FIRST_REQUEST_GRACE_MS
        elif self.is_idle:
            self._close()

    def refuse_client(self, now: int) -> None:
        """Answer 503 and close, whatever the client is about to ask: there are too many."""
        self._refuse(RefusedError(503, "Too many connections"), now)

    def handle_timeout(self, now: int) -> None:
        """Tell that it is ``deadline`` or later. Earlier, this does nothing."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        if self._write_blocked_since is not None:
            self._write_blocked_since, self._is_lost = None, True
            self._close()
        elif self._state is _IDLE:
            self._close()
        else:
            self._refuse(RefusedError(408, "Request not received in time"), now)

    def _read_whole_request(self, data: bytes, now: int) -> bool:
        """Read a request that has come in one piece, as nearly all do: half the cost of the way
        through the buffer. Whatever is unusual about it goes that way.

        Returns:
            Whether it was read.
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
        self._phase_started_at = self._first_byte_at = now
        self._head, body = head, data[end:end_of_body]
        if len(data) > end_of_body:
            self._buffer += data[end_of_body:]
        self._request = head.with_body(body, now, now, is_secure=self._is_secure)
        self._state = _READY
        return True

    def _read(self, now: int) -> None:
        """Go on with the current request as far as the buffer allows."""
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
        """Find a request's first byte. Empty lines before it mean nothing (RFC 9112, 2.2)."""
        if empty := _EMPTY_LINES.match(self._buffer):
            del self._buffer[: empty.end()]
        if self._buffer and self._buffer != b"\r":  # which may yet be an empty line
            # The time runs from here even if the first byte came while the request before
            # was handled, since that was our time.
            self._state, self._phase_started_at, self._first_byte_at = (
                _HEAD,
                now,
                self._last_data_at,
            )
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
            # It is left where it is until all of it is there, and copied once.
            length = head.framing.length
            if len(self._buffer) < length:
                return
            with memoryview(self._buffer) as view, view[:length] as part:
                body = bytes(part)
            del self._buffer[:length]
        self._request = head.with_body(
            body, self._first_byte_at, self._last_data_at, is_secure=self._is_secure
        )
        self._state = _READY

    def _refuse(self, refused: RefusedError, now: int) -> None:
        """Answer a request that was not handed out, and close."""
        head = self._head
        response = self._make_refusal(refused.status, refused.message, head.headers if head else {})
        is_head = head.method == "HEAD" if head else self._buffer.startswith(b"HEAD ")
        self._outgoing += encode_response(response, now, to_head=is_head, connection="close")
        self._close(linger=True)

    def _account(self) -> None:
        """Tell the others how much this one holds."""
        held = len(self._buffer)
        if self._chunks is not None:
            held += len(self._chunks)
        if self._request is not None:
            held += len(self._request.body)
        self._budget.used += held - self._budgeted_bytes
        self._budgeted_bytes = held

    def _discard_input(self) -> None:
        self._discards_input = True
        self._buffer.clear()

    def _close(self, *, linger: bool = False) -> None:
        self._discard_input()
        self._state = _CLOSED
        self._head = self._chunks = self._request = None
        self._account()
        self._linger = LINGER_MS if linger and not self._input_ended else 0

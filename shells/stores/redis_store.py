"""A key-value store in Redis 6 or later, or Valkey: for processes on several hosts.

Each operation is a Lua script, loaded once, that uses the keys of one hash slot only. The
operations of a call are sent in one pipeline. Keys have a prefix, so that several installations can
share a server.
"""

from collections.abc import Iterable
from hashlib import sha1
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
)

from openqoe.core.kv import (
    AddMembers,
    Claim,
    Entry,
    Extend,
    ListRecent,
    Mark,
    Members,
    Operation,
    Reply,
    Summarize,
    Tail,
)

from .store_interface import StoreError

TIMEOUT: Final = 2.0
"""Time limit of a connection attempt and of an answer, in seconds."""


# KEYS: order, days, version. ARGV: limit (-1: none), day, version, known, members...
_ADD_MEMBERS = """
local left = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2] - 2)
for _, member in ipairs(left) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('ZREM', KEYS[2], member)
end
if #left > 0 then redis.call('INCR', KEYS[3]) end
local limit, size = tonumber(ARGV[1]), redis.call('ZCARD', KEYS[1])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local place = tonumber(last[2] or 0)
for i = 5, #ARGV do
  local day = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if day then
    if tonumber(day) < tonumber(ARGV[2]) then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[i]) end
  elseif limit < 0 or size < limit then
    place = place + 1
    size = size + 1
    redis.call('ZADD', KEYS[1], place, ARGV[i])
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[i])
  end
end
local version, start = tonumber(redis.call('GET', KEYS[3]) or 0), tonumber(ARGV[4])
if version ~= tonumber(ARGV[3]) or start > size then start = 0 end
return {version, start, redis.call('ZRANGE', KEYS[1], start, -1)}
"""

# KEYS: claim. ARGV: by, lifetime (-1: forever)
_CLAIM = """
local owner = redis.call('GET', KEYS[1]) or ARGV[1]
if owner == ARGV[1] then
  if ARGV[2] == '-1' then redis.call('SET', KEYS[1], owner)
  else redis.call('SET', KEYS[1], owner, 'PX', ARGV[2]) end
end
return owner
"""

# A log is a hash: n, its length; f, the number of entries removed; b and s, length and text of the
# summary; and for each entry i its id (i...), writer (w...) and data (d...).
# KEYS: log. ARGV: id, by, data, after, only at (-1: anywhere), lifetime
_EXTEND = """
local key = KEYS[1]
local head = redis.call('HMGET', key, 'n', 'f', 'b')
local n, f, b = tonumber(head[1] or 0), tonumber(head[2] or 0), tonumber(head[3] or 0)
if ARGV[5] == '-1' or tonumber(ARGV[5]) == n then
  local known = false
  for i = f + 1, n do
    if redis.call('HGET', key, 'i' .. i) == ARGV[1] then known = true end
  end
  if not known then
    n = n + 1
    redis.call('HSET', key, 'n', n, 'i' .. n, ARGV[1], 'w' .. n, ARGV[2], 'd' .. n, ARGV[3])
  end
end
if n > 0 then redis.call('PEXPIRE', key, ARGV[6]) end
local start, summary = tonumber(ARGV[4]), false
if start < f then
  start = b
  summary = redis.call('HGET', key, 's')
end
local reply = {start, summary, n - f}
for i = start + 1, n do
  local entry = redis.call('HMGET', key, 'i' .. i, 'w' .. i, 'd' .. i)
  for k = 1, 3 do reply[#reply + 1] = entry[k] end
end
return reply
"""

# KEYS: log. ARGV: length, summary, keep, lifetime
_SUMMARIZE = """
local key, length = KEYS[1], tonumber(ARGV[1])
local head = redis.call('HMGET', key, 'n', 'f', 'b')
local n, f, b = tonumber(head[1] or 0), tonumber(head[2] or 0), tonumber(head[3] or 0)
if length <= b or length > n then return false end
local start = math.max(f, length - ARGV[3])
for i = f + 1, start do redis.call('HDEL', key, 'i' .. i, 'w' .. i, 'd' .. i) end
redis.call('HSET', key, 'f', start, 'b', length, 's', ARGV[2])
redis.call('PEXPIRE', key, ARGV[4])
return false
"""

# A member's score is the time of its mark, negative if the member is gone.
# KEYS: members. ARGV: since, lifetime, (member, mark)...
_MARK = """
local key, since = KEYS[1], tonumber(ARGV[1])
for i = 3, #ARGV, 2 do
  local mark = tonumber(ARGV[i + 1])
  local before = tonumber(redis.call('ZSCORE', key, ARGV[i]) or 0)
  if math.abs(mark) > math.abs(before) or (mark == -before and mark < 0) then
    redis.call('ZADD', key, ARGV[i + 1], ARGV[i])
  end
end
redis.call('ZREMRANGEBYSCORE', key, '(' .. -since, '(' .. since)
redis.call('PEXPIRE', key, ARGV[2])
return redis.call('ZCOUNT', key, 1, '+inf')
"""

# KEYS: members. ARGV: since
_LIST_RECENT = """
local members = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf')
table.sort(members)
return members
"""

_SCRIPTS: dict[type[Operation], str] = {
    AddMembers: _ADD_MEMBERS,
    Claim: _CLAIM,
    Extend: _EXTEND,
    Summarize: _SUMMARIZE,
    Mark: _MARK,
    ListRecent: _LIST_RECENT,
}
_DIGESTS = {
    kind: sha1(script.encode(), usedforsecurity=False).hexdigest()
    for kind, script in _SCRIPTS.items()
}


def _keys_and_arguments(prefix: str, operation: Operation) -> tuple[list[str], list[Any]]:
    """Return the keys and arguments of an operation's script."""
    # A cluster hashes the text in braces, so all keys of an operation are on one node.
    base = f"{prefix}:{{{operation.key}}}"
    match operation:
        case AddMembers():
            limit = -1 if operation.limit is None else operation.limit
            known = (operation.version, operation.known)
            members = [member.encode("utf-8", "surrogatepass") for member in operation.members]
            keys = [f"{base}:order", f"{base}:days", f"{base}:version"]
            return keys, [limit, operation.day, *known, *members]
        case Claim():
            lifetime = -1 if operation.lifetime is None else operation.lifetime
            return [base], [operation.by, lifetime]
        case Extend():
            only_at = -1 if operation.only_at is None else operation.only_at
            return [base], [*operation.entry, operation.after, only_at, operation.lifetime]
        case Summarize():
            summary = (operation.length, operation.summary, operation.keep)
            return [base], [*summary, operation.lifetime]
        case Mark():
            marks = [part for mark in operation.marks for part in mark]
            return [base], [operation.since, operation.lifetime, *marks]
        case ListRecent():
            return [base], [operation.since]


def _decode_reply(operation: Operation, answer: Any) -> Reply:
    """Return the reply that the answer of an operation's script stands for."""
    match operation:
        case AddMembers():
            version, start, members = answer
            return Members(version, start, _decode_texts(members))
        case Claim():
            return str(answer, "utf-8")
        case Extend():
            start, summary, kept, *parts = answer
            entries = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
            read = tuple(Entry(id, str(by, "utf-8"), data) for id, by, data in entries)
            return Tail(start, summary, read, kept)
        case Summarize():
            return None
        case Mark():
            return int(answer)
        case ListRecent():
            return _decode_texts(answer)


def _decode_texts(values: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(value.decode("utf-8", "surrogatepass") for value in values)


class RedisStore:
    """A store in Redis, used by one thread.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user and password if the
            server requires them.
        prefix: Prefix of all keys.

    Raises:
        StoreError: The URL is invalid.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        self._address = _address(url)
        try:
            self._redis = redis.Redis.from_url(url, **_OPTIONS)
        except ValueError as error:
            raise StoreError(f"OPENQOE_KV_URL: {error}") from None

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        """Run operations in order; return their replies.

        Raises:
            StoreError: See ``Store.run``.
        """
        try:
            try:
                answers = self._run_scripts(operations)
            except NoScriptError:  # a new server, or a restarted one
                for script in _SCRIPTS.values():
                    self._redis.script_load(script)
                answers = self._run_scripts(operations)
        except (RedisError, OSError) as error:
            # After a failover the address leads to another server, but an open connection still to
            # the old one, which has become a read-only replica.
            self._redis.connection_pool.disconnect()
            raise _failure(self._address, error) from None
        return tuple(map(_decode_reply, operations, answers))

    def _run_scripts(self, operations: tuple[Operation, ...]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for operation in operations:
                keys, arguments = _keys_and_arguments(self._prefix, operation)
                pipeline.evalsha(_DIGESTS[type(operation)], len(keys), *keys, *arguments)
            return pipeline.execute()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


_OPTIONS: dict[str, Any] = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    # The core decides about retries.
    "retry": None,
    "retry_on_error": [],
    "client_name": "openqoe-worker",
}


def _address(url: str) -> str:
    """Return the server's address without user and password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path


def _failure(address: str, error: Exception) -> StoreError:
    # The text of a pipeline's error repeats the command, which contains keys.
    text = str(error).partition("of pipeline")[2].rpartition("caused error:")[2] or str(error)
    text = text.strip() or type(error).__name__
    advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
    if "READONLY" in text or "NOPERM" in text:  # in the text of a script's error
        advice = _ADVICE[ReadOnlyError if "READONLY" in text else NoPermissionError]
    return StoreError(f"{address}: {advice}{f' ({text})' if advice else text}")


_CLUSTER: Final = (
    "it is a node of a cluster, which is not supported; use one primary, or a proxy in front of "
    "the cluster"
)

_ADVICE: Final[dict[type[RedisError], str]] = {
    ReadOnlyError: "it is a read-only replica; OPENQOE_KV_URL must lead to the primary",
    MovedError: _CLUSTER,
    AskError: _CLUSTER,
    ClusterDownError: _CLUSTER,
    NoPermissionError: "its user may not do this; allow EVALSHA, SCRIPT LOAD, the commands of the "
    "scripts and the keys that begin with OPENQOE_KV_PREFIX",
}
"""Meaning of errors whose own text does not help."""

"""Findings about the URL of a CMCD target: what it lacks, and whether the worker accepts it."""

import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

from openqoe.core.delivery.destination_probe import Finding
from openqoe.core.events.cmcd_target import QUERY_FIELDS, REQUIRED_FIELDS

from .worker_connection import NO_ANSWER, UNSENDABLE, WorkerConnection, WorkerError

SUBJECT: Final = "CMCD target"

TIMEOUT: Final = 10.0
"""Seconds to wait for an answer."""

EXAMPLE: Final = "https://qoe.example.com/v1/cmcd?api_key=KEY&org_id=acme&player_id=web"

_REMEDY_BY_STATUS: Final = {
    401: "give a valid key as api_key=… in the query",
    404: "the path must end in /cmcd; a proxy may have to pass it on",
    405: "a proxy or another service answers here: it must pass POST on",
    413: "raise OPENQOE_MAX_BODY_BYTES, or the limit of a proxy",
    415: "a proxy changes the content type application/cmcd",
}


def check_target(url: str, origin: str) -> Iterator[Finding]:
    """Check a target as a player would use it.

    Args:
        url: The URL that is configured in the player.
        origin: The origin of the page, "" if it is unknown.
    """
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        yield Finding("fail", SUBJECT, "it is no http:// or https:// URL", f"e.g. {EXAMPLE}")
        return
    if not address.path.rstrip("/").endswith("/cmcd"):
        yield Finding("fail", SUBJECT, "its path does not end in /cmcd", f"e.g. {EXAMPLE}")
        return
    if address.fragment:
        yield Finding("warn", SUBJECT, "it has a fragment (#), which is not sent")
    is_local = address.hostname in ("localhost", "127.0.0.1", "::1")
    if address.scheme == "http" and not is_local:
        advice = "browsers do not send from an https page to http: use https"
        yield Finding("warn", SUBJECT, "it is not https", advice)
    yield from _check_query(parse_qs(address.query))
    yield from _check_answers(url, origin)


def _check_query(fields: dict[str, list[str]]) -> Iterator[Finding]:
    for name in REQUIRED_FIELDS:
        if name not in fields:
            advice = f"add &{name}=…; without it, all such players count as one"
            yield Finding("warn", SUBJECT, f"the query has no {name}", advice)
    if "player_name" not in fields:
        advice = "add &player_name=hlsjs, dashjs or shaka: what a record means depends on it"
        yield Finding("warn", SUBJECT, "the query has no player_name", advice)
    if "env" not in fields:
        yield Finding("warn", SUBJECT, "the query has no env", "add &env=prod")
    for name, values in fields.items():
        if name not in (*QUERY_FIELDS, "api_key"):
            known = ", ".join(("api_key", *QUERY_FIELDS))
            yield Finding("warn", SUBJECT, f"the worker ignores {name}", f"it knows {known}")
        elif len(values) > 1:
            yield Finding(
                "warn", SUBJECT, f"{name} occurs {len(values)} times; the last one counts"
            )
    given = [name for name in QUERY_FIELDS if name in fields]
    if given:
        text = ", ".join(f"{name}={fields[name][-1]}" for name in given)
        yield Finding("ok", SUBJECT, f"its records are labelled {text}")


def _check_answers(url: str, origin: str) -> Iterator[Finding]:
    """Send a preflight and a record without a session, which the worker counts as unusable."""
    address = urlsplit(url)
    target = address._replace(scheme="", netloc="", fragment="").geturl()
    record = f"e=t,ts={int(time.time() * 1000)},v=2\n".encode()
    try:
        connection = WorkerConnection(url, TIMEOUT)
        preflight = connection.request("OPTIONS", target, None, _preflight(origin))
        answer = connection.request("POST", target, record, {"Content-Type": "application/cmcd"})
        connection.close()
    except (*NO_ANSWER, *UNSENDABLE, WorkerError) as error:
        where = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
        yield Finding("fail", SUBJECT, f"cannot reach {where}: {error}", "is the worker running?")
        return
    if answer.status == 204:
        yield Finding("ok", SUBJECT, "the worker accepts records")
    else:
        advice = _REMEDY_BY_STATUS.get(answer.status, "see the worker's log")
        yield Finding("fail", SUBJECT, f"a record is answered {answer.status}, not 204", advice)
    allowed = preflight.headers.get("Access-Control-Allow-Origin", "")
    if not origin:
        return
    if preflight.status >= 300 or allowed not in (origin, "*"):
        advice = "add it to CORS_ALLOWED_ORIGINS; a proxy must pass OPTIONS on"
        yield Finding("fail", SUBJECT, f"pages of {origin} may not send to it", advice)
    else:
        yield Finding("ok", SUBJECT, f"pages of {origin} may send to it")


def _preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin or "https://example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }

"""Access to the dashboard: authorization, sign-in, sessions and security headers.

The shell provides the pages (``LoadPage``); this module decides whether a request may have one.
Without API keys the dashboard is open, like the rest of the worker. With keys, a user enters one
that may read in a form, and the browser gets a session cookie:

    openqoe_session = expiry "." id of the key "." HMAC-SHA256(secret of the key, expiry)

The secret of a key is derived from its SHA-256 and a secret of the service, so that who reads the
keys file cannot make a session. A session needs no stored state, is valid in every process that
shares the data directory, and ends when its key is revoked or removed. Signing out deletes the
cookie and ends the session in the process that receives it. Programs send the key itself, as to the
other endpoints, and only to the dashboard's API.

Another site can neither read a response (no CORS), nor show one in a frame, nor sign a user in or
out: its requests come without the cookie (SameSite) and with a foreign Origin. Links and redirects
are relative, so that they work behind a proxy that adds a prefix.
"""

import re
from base64 import b64encode
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from html import escape
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from msgspec.structs import replace

from ..access.api_key import ApiKey, Scope
from ..access.key_ring import Grant, KeyRing, Refusal
from ..access.offered_keys import offers_key
from ..effects import LoadPage, Page
from ..http.messages import Request, Response
from . import answers
from .failed_keys import FailedKeys

API: Final = "/dashboard/api/"
DELIVERY: Final = API + "delivery"
"""The page that needs the worker's own state."""

SCOPES: Final = {API + "tail": Scope.LOGS, API + "view": Scope.LOGS}
"""Scopes of pages that show raw events; all others need ``Scope.READ``."""

SIGN_IN: Final = "/dashboard/sign-in"
SIGN_OUT: Final = "/dashboard/sign-out"

COOKIE: Final = "openqoe_session"

SESSION_MS: Final = 12 * 60 * 60 * 1000
"""Lifetime of a session."""

MAX_ENDED_SESSIONS: Final = 10_000
"""Maximum sessions remembered that ended before they expired; the oldest is evicted."""

MAX_FORM_BYTES: Final = 8_192
"""Maximum size of the submitted form."""

MAX_FIELDS: Final = 50
"""Maximum fields in the query of a page, and in the form."""

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
  background: light-dark(#f4f5f7, #14161a); color: light-dark(#1b1f27, #e7e9ee); }
main { box-sizing: border-box; width: min(26rem, 100vw - 2rem); padding: 2rem;
  border-radius: 12px;
  background: light-dark(#fff, #1d2026); border: 1px solid light-dark(#dfe2e8, #2d323b); }
h1 { margin: 0 0 .25rem; font-size: 1.4rem; }
p { margin: 0 0 1.25rem; color: light-dark(#5a6272, #9aa3b2); }
p[role=alert] { color: light-dark(#b3261e, #ff8a80); }
label { display: block; font-weight: 600; margin-bottom: .35rem; }
input, button { box-sizing: border-box; width: 100%; font: inherit; padding: .6rem .75rem;
  border-radius: 8px; border: 1px solid light-dark(#c3c9d4, #414854); }
input { background: light-dark(#fff, #14161a); color: inherit; }
button { margin-top: 1rem; border-color: transparent; background: #2f5fe0; color: #fff;
  font-weight: 600; cursor: pointer; }
:focus-visible { outline: 3px solid #7aa2ff; outline-offset: 1px; }
"""

_FORM: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · OpenQoE</title>
<link rel="icon" href="data:,">
<style>%(style)s</style>
</head>
<body>
<main>
<h1>OpenQoE</h1>
<p>Video quality of experience</p>
%(alert)s<form method="post" action="%(action)s">
<input name="username" value="openqoe" autocomplete="username" hidden>
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Sign in</button>
</form>
</main>
</body>
</html>
"""

_HTML: Final = ("Content-Type", "text/html; charset=utf-8")

_COMMON_POLICY: Final = "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()

FORM_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; {_COMMON_POLICY}"
)
"""Content-Security-Policy of the sign-in form: its own style and an empty icon only."""

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; " + _COMMON_POLICY
)
"""Content-Security-Policy of all other responses: files of the worker only, nothing inline."""

SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not "no-referrer", because browsers would send "Origin: null" with our own form.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Vary", "Cookie"),
)

_PATH: Final = re.compile(r"/(?:[0-9A-Za-z._~%@+-]+/)*")

_SESSIONS: Final = re.compile(
    rf"(?:^|[;,])[ \t]*{COOKIE}=([0-9]{{1,15}})\.([0-9a-f]{{16}})\.([0-9a-f]{{64}})"
    r"(?=[ \t]*(?:[;,]|$))"
)


class DashboardAccess:
    """Access control of the dashboard.

    Args:
        ring: The API keys.
        secret: The secret of the service, with which sessions are signed.
        failed_keys: Limit of wrong keys, shared with the other routes for readers.
    """

    def __init__(self, ring: KeyRing, secret: bytes, failed_keys: FailedKeys) -> None:
        self._ring = ring
        self._secret = secret
        self._failed_keys = failed_keys
        self._ended: dict[str, None] = {}  # signatures of sessions that were signed out

    def handle_request(self, request: Request, effect_id: int, now: int) -> Response | LoadPage:
        """Return the response to a request, or the effect that loads its page.

        Args:
            request: A request for "/" or a path below "/dashboard".
            effect_id: Id of the effect.
            now: Current time, ms since the epoch.
        """
        reads = request.method in ("GET", "HEAD")
        if request.path in (SIGN_IN, SIGN_OUT):
            if reads:
                return _to("../")
            if request.method != "POST":
                return _not_allowed("GET, HEAD, POST")
            if not _is_same_origin(request):
                return _form(403, "Please sign in from this page, not from another site.")
            if request.path == SIGN_OUT:
                return self._sign_out(request)
            return self._sign_in(request, now)
        if not reads:
            return _not_allowed("GET, HEAD")
        grant = self._authorize(request, now)
        if isinstance(grant, Refusal):
            return self._refuse(request, grant, now)
        if request.path.rstrip("/") == "/dashboard":
            return _to("../" if request.path.endswith("/") else "./")
        try:
            query = parse_qsl(request.query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            message = f"More than {MAX_FIELDS} fields in the query"
            return _secured(answers.error_response(400, message))
        orgs = None if grant.orgs is None else tuple(sorted(grant.orgs))
        key = grant.key
        hides = key is not None and bool(self._ring.refusal_of(key, request, Scope.LOGS))
        return LoadPage(effect_id, request.path, dict(query), orgs=orgs, hides_viewers=hides)

    def page_response(self, request: Request, page: Page) -> Response:
        """Return the response with a loaded page: 304 if the client has the same ETag."""
        tags = [value for name, value in page.headers if name.lower() == "etag"]
        known = [tag.strip().removeprefix("W/") for tag in _header(request, "if-none-match")]
        if page.status == 200 and tags and (tags[0] in known or "*" in known):
            kept = [pair for pair in page.headers if pair[0].lower() != "content-type"]
            return _secured(Response(304, tuple(kept)))
        return _secured(Response(page.status, page.headers, page.body))

    def _authorize(self, request: Request, now: int) -> Grant | Refusal:
        scope = SCOPES.get(request.path.rstrip("/"), Scope.READ)
        if self._ring.is_open(scope):
            return self._ring.authorize_open(request, scope)
        refusal = Refusal.KEY
        for key in self._session_keys(request, now):
            refused = self._ring.refusal_of(key, request, scope)
            if refused is None:
                return Grant(key)
            refusal = refused
        if request.path.startswith(API):
            # A key in the query would be stored in browser histories and logs.
            offered = self._ring.authorize(replace(request, query=""), scope)
            if isinstance(offered, Grant) or offered is not Refusal.KEY:
                return offered
        return refusal

    def _refuse(self, request: Request, refusal: Refusal, now: int) -> Response:
        if refusal is not Refusal.KEY:
            if request.path == "/" and refusal is not Refusal.HOST:
                return _form(403, escape(refusal.value), action="dashboard/sign-in")
            return _secured(answers.forbidden(refusal))
        if request.path == "/":
            return _form(401, action="dashboard/sign-in")
        if offers_key(request):
            wait = self._failed_keys.note(request, now)
            if wait:
                return _secured(answers.too_many_wrong_keys(wait))
        return _secured(answers.unauthorized())

    def _session_keys(self, request: Request, now: int) -> list[ApiKey]:
        """Return the keys of the sessions of a request."""
        sessions = _SESSIONS.findall(request.headers.get("cookie", ""))
        if not sessions:
            return []
        keys = {session_id(key): key for key in self._ring.keys}
        return [
            keys[id]
            for expiry, id, mac in sessions
            if id in keys
            and compare_digest(mac, signature(self._secret, keys[id], expiry))
            and now < int(expiry)
            and mac not in self._ended
        ]

    def _sign_out(self, request: Request) -> Response:
        """End the session in this process, and delete the cookie."""
        keys = {session_id(key): key for key in self._ring.keys}
        for expiry, id, mac in _SESSIONS.findall(request.headers.get("cookie", "")):
            if id in keys and compare_digest(mac, signature(self._secret, keys[id], expiry)):
                self._ended[mac] = None
                if len(self._ended) > MAX_ENDED_SESSIONS:
                    del self._ended[next(iter(self._ended))]
        return _to("../", _cookie(request, "", 0))

    def _sign_in(self, request: Request, now: int) -> Response:
        if self._ring.is_open(Scope.READ):
            return _to("../")
        if len(request.body) > MAX_FORM_BYTES:
            return _form(413, "That is too long to be a key.")
        key = self._ring.find(_key_of(request))
        if key is None:
            wait = self._failed_keys.note(request, now)
            if wait:
                message = f"Too many wrong keys. Please try again in {wait} s."
                return _form(429, message, ("Retry-After", str(wait)))
            return _form(401, "That is not one of the keys.")
        refusal = self._ring.refusal_of(key, request, Scope.READ)
        if refusal is not None:
            return _form(403, escape(refusal.value))
        expiry = str(now + SESSION_MS)
        value = f"{expiry}.{session_id(key)}.{signature(self._secret, key, expiry)}"
        return _to("../", _cookie(request, value, SESSION_MS // 1000))


def session_id(key: ApiKey) -> str:
    """Return the id of a key in session cookies, which reveals nothing about the key."""
    return sha256(b"openqoe session" + key.digest).hexdigest()[:16]


def signature(secret: bytes, key: ApiKey, expiry: str) -> str:
    """Return the signature of a session cookie, in hexadecimal.

    Args:
        secret: The secret of the service.
        key: The API key of the session.
        expiry: End of the session, ms since the epoch, in decimal.
    """
    secret = hmac(secret, b"openqoe dashboard session" + key.digest, sha256).digest()
    return hmac(secret, expiry.encode(), sha256).hexdigest()


def _key_of(request: Request) -> str:
    """Return the key entered in the form, "" if there is none."""
    try:
        fields = parse_qs(request.body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS)
    except ValueError:
        return ""
    return fields.get("key", [""])[0].strip()


def _is_same_origin(request: Request) -> bool:
    """Whether a request comes from one of our own pages, or not from a page.

    A browser's Sec-Fetch-Site decides, behind a proxy that rewrites Host as well. Older browsers
    send only an Origin. Its scheme is ignored, because a proxy may have terminated TLS. A page
    cannot make a browser send X-Forwarded-Host with a form.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return True
    hosts = {*_header(request, "host"), *_header(request, "x-forwarded-host")}
    try:
        return urlsplit(origin).netloc.lower() in {host.strip().lower() for host in hosts if host}
    except ValueError:
        return False


def _header(request: Request, name: str) -> list[str]:
    return request.headers.get(name, "").split(",")


def _is_secure(request: Request) -> bool:
    """Whether the browser uses TLS, to us or to a proxy in front."""
    forwarded = _header(request, "x-forwarded-proto")[0].strip().lower()
    return request.is_secure or forwarded == "https"


def _mount_path(request: Request) -> str:
    """Return the path of the dashboard as the browser sees it; "/" if it does not say.

    The form is on the page at the mount path, or on the sign-in page below it. A host or a proxy
    may have removed the prefix from the request's own path.
    """
    try:
        path = urlsplit(request.headers.get("referer", "")).path
    except ValueError:
        return "/"
    path = path.removesuffix(SIGN_IN.removeprefix("/"))
    path = path[: path.rfind("/") + 1]
    return path if _PATH.fullmatch(path) else "/"


def _cookie(request: Request, value: str, seconds: int) -> tuple[str, str]:
    secure = "; Secure" if _is_secure(request) else ""
    return (
        "Set-Cookie",
        f"{COOKIE}={value}; Path={_mount_path(request)}; Max-Age={seconds}; HttpOnly; "
        f"SameSite=Strict{secure}",
    )


def _form(
    status: int, message: str = "", *headers: tuple[str, str], action: str = "sign-in"
) -> Response:
    """Return the sign-in form; it has no script, so that it works in every browser."""
    alert = f'<p role="alert">{message}</p>\n' if message else ""
    content = _FORM % {"style": _STYLE, "alert": alert, "action": action}
    if status == 401:
        headers = (*headers, answers.CHALLENGE)
    own = (_HTML, ("Content-Security-Policy", FORM_POLICY), *headers)
    return _secured(Response(status, own, content.encode()))


def _to(where: str, *headers: tuple[str, str]) -> Response:
    return _secured(Response(303, (("Location", where), *headers)))


def _not_allowed(methods: str) -> Response:
    return _secured(answers.error_response(405, "Method not allowed", ("Allow", methods)))


def _secured(response: Response) -> Response:
    """Add the security headers; caching is off unless the response has a Cache-Control header."""
    names = {name.lower() for name, _ in response.headers}
    policy = ("Content-Security-Policy", PAGE_POLICY)
    defaults = (policy, ("Cache-Control", "no-store"), *SECURITY_HEADERS)
    more = (pair for pair in defaults if pair[0].lower() not in names)
    return Response(response.status, (*response.headers, *more), response.body)

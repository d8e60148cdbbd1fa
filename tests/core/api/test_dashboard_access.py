"""Access to the dashboard: authorization, sign-in and sign-out, and security headers."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from openqoe.core.access.api_key import ApiKey, Scope, key_digest
from openqoe.core.api.dashboard_access import COOKIE, SESSION_MS, session_id, signature
from openqoe.core.api.failed_keys import MAX_ADDRESSES, MAX_FAILURES, FailedKeys
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import LoadPage, Page
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from tests.core.api.worker_client import Answer
from tests.support.event_builders import NOW
from tests.support.handling import Handled, complete, handle

KEYS = "alpha-key, beta-key"
SECRET = b"of the service"
HOST = {"host": "qoe.example:8787"}
FORM = {**HOST, "origin": "http://qoe.example:8787"}
MINUTE = 60_000


def make(keys: str | None = KEYS, **settings: str) -> Worker:
    open_settings = {"OPENQOE_ALLOWED_HOSTS": "qoe.example"}
    access = open_settings if keys is None else {"API_KEY": "players", "OPENQOE_READ_KEY": keys}
    config = Config.from_environment({**access, **settings})
    return Worker(config, instance="d-0", embedded=True, secret=SECRET)


def go(
    worker: Worker,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    query: str = "",
    body: bytes = b"",
    now: int = NOW,
    is_secure: bool = False,
) -> Handled:
    request = Request(method, path, query, {**HOST, **(headers or {})}, body, now, is_secure)
    return handle(worker, request, now)


def page_of(outcome: Handled) -> LoadPage | None:
    """The page that is loaded for it, if it may be seen."""
    pages = [effect for effect in outcome.effects if isinstance(effect, LoadPage)]
    assert len(pages) + len(outcome.answers) == 1
    return pages[0] if pages else None


def shown(worker: Worker, request: Request, page: Page) -> Response:
    """The answer to a request once its page is loaded."""
    load = page_of(handle(worker, request, NOW))
    assert load is not None
    return complete(worker, load.id, page, NOW).response


def sign_in(worker: Worker, key: str, now: int = NOW, **headers: str) -> Answer:
    body = b"key=" + key.encode()
    outcome = go(
        worker, "/dashboard/sign-in", method="POST", headers={**FORM, **headers}, body=body, now=now
    )
    return Answer.of(outcome.response)


def cookie_of(answer: Answer) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]


# Without keys, and without a dashboard


def test_dashboard_is_open_without_keys() -> None:
    for path in ("/", "/dashboard/app.js", "/dashboard/api/summary"):
        page = page_of(go(make(None), path, query="from=1&from=2&empty="))
        assert page is not None
        assert (page.path, page.query) == (path, {"from": "2", "empty": ""})


@pytest.mark.parametrize(
    "settings",
    [{"OPENQOE_DASHBOARD": "false"}, {"OPENQOE_EMBEDDED": "off"}, {"PROMETHEUS_URL": "http://p/w"}],
)
def test_missing_dashboard_is_404(settings: dict[str, str]) -> None:
    worker = make(None, **settings)
    for path in ("/", "/dashboard", "/dashboard/sign-in"):
        for method in ("GET", "POST"):
            answer = Answer.of(go(worker, path, method=method).response)
            assert (answer.status, answer.json["message"]) == (404, "Not found")


def test_dashboard_exists_beside_other_destinations() -> None:
    worker = make(None, PROMETHEUS_URL="http://p/w", OPENQOE_EMBEDDED="on")
    assert page_of(go(worker, "/")) is not None


@pytest.mark.parametrize(
    "path", ["/v1/", "/v1/dashboard/app.js", "/dashboards", "//", "/index.html"]
)
def test_other_paths_are_404(path: str) -> None:
    assert go(make(None), path).response.status == 404


# With keys


def test_request_without_session_gets_the_form_only() -> None:
    worker = make()
    outcome = go(worker, "/")
    answer = Answer.of(outcome.response)
    assert page_of(outcome) is None
    assert answer.status == 401
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b'<form method="post" action="dashboard/sign-in">' in answer.body
    assert b"<script" not in answer.body
    for path in ("/dashboard/app.js", "/dashboard/api/summary", "/dashboard/", "/dashboard/x"):
        outcome = go(worker, path, query="api_key=alpha-key")
        assert page_of(outcome) is None
        assert Answer.of(outcome.response).json["success"] is False
        assert outcome.response.status == 401


@pytest.mark.parametrize("key", ["alpha-key", "beta-key", "%62eta-key", "+alpha-key+"])
def test_any_key_signs_in(key: str) -> None:
    worker = make()
    answer = sign_in(worker, key)
    assert (answer.status, answer.headers["Location"]) == (303, "../")
    attributes = answer.headers["Set-Cookie"].split("; ")[1:]
    assert attributes == ["Path=/", f"Max-Age={SESSION_MS // 1000}", "HttpOnly", "SameSite=Strict"]
    for path in ("/", "/dashboard/app.js", "/dashboard/api/summary"):
        assert page_of(go(worker, path, headers={"cookie": cookie_of(answer)})) is not None


def test_session_is_valid_in_another_process() -> None:
    cookie = cookie_of(sign_in(make(), "beta-key"))
    assert page_of(go(make(), "/", headers={"cookie": cookie})) is not None


def test_session_ends_when_its_key_is_removed() -> None:
    cookie = cookie_of(sign_in(make(), "alpha-key"))
    assert page_of(go(make("gamma, alpha-key"), "/", headers={"cookie": cookie})) is not None
    assert page_of(go(make("gamma"), "/", headers={"cookie": cookie})) is None


def test_session_ends_after_twelve_hours() -> None:
    worker = make()
    cookie = {"cookie": cookie_of(sign_in(worker, "alpha-key"))}
    assert page_of(go(worker, "/", headers=cookie, now=NOW + SESSION_MS - 1)) is not None
    assert page_of(go(worker, "/", headers=cookie, now=NOW + SESSION_MS)) is None


def test_session_cookie_is_found_among_others() -> None:
    worker = make()
    good = cookie_of(sign_in(worker, "alpha-key"))
    for header in (
        f"a=1; {good}",
        f"{good};b=2",
        f"{COOKIE}=0.{'0' * 16}.{'0' * 64}; {good}",
        f"a=1, {good}",
    ):
        assert page_of(go(worker, "/", headers={"cookie": header})) is not None
    for header in (f"x{good}", f"a={good}", good + "0", good.replace("=", " = ")):
        assert page_of(go(worker, "/", headers={"cookie": header})) is None


def session(text: str, secret: bytes = SECRET) -> str:
    """The session that a key leads to."""
    key = ApiKey(key_digest(text), "any", frozenset({Scope.READ}))
    expiry = str(NOW + SESSION_MS)
    return f"{expiry}.{session_id(key)}.{signature(secret, key, expiry)}"


GOOD = session("alpha-key")


@given(st.text("0123456789abcdef.;,= x", max_size=110) | st.text(max_size=110))
@example(GOOD.upper())
@example(f"{NOW + 10 * SESSION_MS}.{GOOD.partition('.')[2]}")
@example(session("gamma-key"))
@example(session("players"))
@example(session("alpha-key", b""))
@example(f"0{GOOD}")
@example(f"+{GOOD}")
def test_arbitrary_cookie_is_no_session(value: str) -> None:
    if value.strip(" \t;,").split(";")[0] != GOOD:
        assert page_of(go(make(), "/", headers={"cookie": f"{COOKIE}={value}"})) is None


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("0123456789abcdef."))
def test_modified_cookie_is_no_session(at: int, character: str) -> None:
    changed = GOOD[:at] + character + GOOD[at + 1 :]
    seen = page_of(go(make(), "/", headers={"cookie": f"{COOKIE}={changed}"}))
    assert (seen is not None) == (changed == GOOD)


@pytest.mark.parametrize(
    ("headers", "is_secure", "expected"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"x-forwarded-proto": "https"}, False, True),
        ({"x-forwarded-proto": "HTTPS, http"}, False, True),
        ({"x-forwarded-proto": "http"}, False, False),
    ],
)
def test_cookie_is_secure_over_tls(
    headers: dict[str, str], is_secure: bool, expected: bool
) -> None:
    outcome = go(
        make(),
        "/dashboard/sign-in",
        method="POST",
        headers={**FORM, **headers},
        body=b"key=alpha-key",
        is_secure=is_secure,
    )
    cookie = dict(outcome.response.headers)["Set-Cookie"]
    assert cookie.endswith("; Secure") == expected


def test_sign_out_deletes_the_cookie() -> None:
    outcome = go(make(), "/dashboard/sign-out", method="POST", headers=FORM)
    headers = dict(outcome.response.headers)
    assert (outcome.response.status, headers["Location"]) == (303, "../")
    assert headers["Set-Cookie"].startswith(f"{COOKIE}=; Path=/; Max-Age=0;")


def test_signed_out_session_is_invalid() -> None:
    worker = make()
    cookie = {"cookie": cookie_of(sign_in(worker, "alpha-key"))}
    other = {"cookie": cookie_of(sign_in(worker, "alpha-key", NOW + 1))}
    forged = {"cookie": f"{COOKIE}=1.{'0' * 16}.{'0' * 64}"}
    for headers in (cookie, forged):
        go(worker, "/dashboard/sign-out", method="POST", headers={**FORM, **headers})
    assert page_of(go(worker, "/", headers=cookie)) is None
    assert page_of(go(worker, "/", headers=other)) is not None


@pytest.mark.parametrize(
    ("referer", "path"),
    [
        (None, "/"),
        ("http://qoe.example:8787/", "/"),
        ("https://a.example/qoe/?range=1h", "/qoe/"),
        ("https://a.example/a/b/dashboard/sign-in", "/a/b/"),
        ("https://a.example/dashboard/sign-in", "/"),
        ("https://a.example/a;Domain=evil/", "/"),
        ("https://a.example", "/"),
        ("https://[bad", "/"),
    ],
)
def test_cookie_path_is_the_mount_path(referer: str | None, path: str) -> None:
    headers = {} if referer is None else {"referer": referer}
    worker = make()
    signed_in = sign_in(worker, "alpha-key", NOW, **headers)
    out = go(worker, "/dashboard/sign-out", method="POST", headers={**FORM, **headers})
    for answer in (signed_in, Answer.of(out.response)):
        assert f"; Path={path}; " in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-api-token"])
def test_key_in_a_header_opens_the_api_only(name: str) -> None:
    worker = make()
    assert page_of(go(worker, "/dashboard/api/x", headers={name: "beta-key"})) is not None
    assert page_of(go(worker, "/dashboard/api/x", headers={name: "gamma"})) is None
    assert page_of(go(worker, "/", headers={name: "beta-key"})) is None


# Wrong keys


@pytest.mark.parametrize(
    "body", [b"key=wrong", b"", b"key=", b"key=\xff\xfe", b"&" * 200, b"other=alpha-key"]
)
def test_wrong_key_shows_the_form_again(body: bytes) -> None:
    worker = make()
    outcome = go(worker, "/dashboard/sign-in", method="POST", headers=FORM, body=body)
    answer = Answer.of(outcome.response)
    assert answer.status == 401
    assert b"not one of the keys" in answer.body
    assert b'action="sign-in"' in answer.body, "relative to where the form is now"
    assert "Set-Cookie" not in answer.headers


def test_oversized_form_is_413() -> None:
    worker = make()
    body = b"key=alpha-key&" + b"x" * 10_000
    answer = go(worker, "/dashboard/sign-in", method="POST", headers=FORM, body=body)
    assert answer.response.status == 413


def test_ten_wrong_keys_a_minute_limit_the_address() -> None:
    worker = make()
    for number in range(MAX_FAILURES):
        assert sign_in(worker, "wrong", NOW + number * 1_000).status == 401
    answer = sign_in(worker, "wrong", NOW + 20_500)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "40")
    # One attempt a second is freed again.
    assert sign_in(worker, "wrong", NOW + MINUTE).status == 401
    assert sign_in(worker, "wrong", NOW + MINUTE).status == 429
    assert sign_in(worker, "wrong", NOW + MINUTE + 1_000).status == 401


def test_right_key_signs_in_after_wrong_keys_of_others() -> None:
    worker = make()
    for _ in range(MAX_FAILURES + 5):
        sign_in(worker, "wrong")
    assert sign_in(worker, "alpha-key").status == 303


def from_address(worker: Worker, client: str, path: str = "/stats", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("GET", path, headers={"x-api-key": "wrong", **named}, client=client)
    return handle(worker, request, NOW).response.status


@pytest.mark.parametrize("path", ["/stats", "/v1/stats", "/dashboard/api/x"])
def test_wrong_keys_are_limited_by_address_on_every_read_route(path: str) -> None:
    worker = make()
    for _ in range(MAX_FAILURES):
        assert from_address(worker, "203.0.113.7", path) == 401
    assert from_address(worker, "203.0.113.7", "/stats") == 429
    assert from_address(worker, "203.0.113.8", path) == 401
    assert from_address(worker, "203.0.113.7", x_api_key="alpha-key") == 200
    events = Request("POST", "/events", headers={"x-api-key": "wrong"}, client="203.0.113.7")
    assert handle(worker, events, NOW).response.status == 401, "players never get 429"


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (("10.0.0.1", "198.51.100.1"), ("10.0.0.1", "198.51.100.2"), False),
        (("10.0.0.1", "1.1.1.1, 198.51.100.1"), ("10.0.0.1", "2.2.2.2, 198.51.100.1"), True),
        (("8.8.8.8", "198.51.100.1"), ("8.8.8.8", "198.51.100.2"), True),
        (("2001:db8::1", ""), ("2001:db8::2", ""), True),
        (("2001:db8::1", ""), ("2001:db8:0:1::1", ""), False),
        (("::ffff:203.0.113.7", ""), ("203.0.113.7", ""), True),
        (("", ""), ("", ""), True),
        (("", "junk"), ("", "x" * 10_000), True),
    ],
)
def test_address_behind_a_proxy_is_the_one_it_has_added(
    first: tuple[str, str], second: tuple[str, str], is_same: bool
) -> None:
    worker = make()
    for _ in range(MAX_FAILURES):
        from_address(worker, first[0], x_forwarded_for=first[1])
    status = from_address(worker, second[0], x_forwarded_for=second[1])
    assert status == (429 if is_same else 401)


def test_addresses_of_failed_attempts_are_bounded() -> None:
    failed = FailedKeys()
    for number in range(MAX_ADDRESSES + 100):
        address = f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        failed.note(Request("GET", "/stats", client=address), NOW)
    assert len(failed) == MAX_ADDRESSES


def test_blocked_sign_in_keeps_sessions_valid() -> None:
    worker = make()
    cookie = cookie_of(sign_in(worker, "alpha-key"))
    for _ in range(MAX_FAILURES + 1):
        sign_in(worker, "wrong")
    assert page_of(go(worker, "/", headers={"cookie": cookie})) is not None


def test_clock_set_back_does_not_block_sign_in() -> None:
    worker = make()
    for _ in range(MAX_FAILURES):
        sign_in(worker, "wrong", NOW)
    assert sign_in(worker, "alpha-key", NOW - 60 * MINUTE).status == 303


# Other sites


@pytest.mark.parametrize("path", ["/dashboard/sign-in", "/dashboard/sign-out"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://qoe.example:9999"}, 403),
        ({"origin": "http://[bad"}, 403),
        ({"origin": "http://qoe.example:8787", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://qoe.example:8787", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://QOE.example:8787", "sec-fetch-site": "same-origin"}, 303),
        ({"origin": "https://q.example", "x-forwarded-host": "q.example"}, 303),
        ({"origin": "https://q.example", "sec-fetch-site": "same-origin"}, 303),  # a proxy
        ({}, 303),  # not a browser
    ],
)
def test_other_origin_cannot_sign_in_or_out(
    path: str, headers: dict[str, str], status: int
) -> None:
    outcome = go(make(), path, method="POST", headers=headers, body=b"key=alpha-key")
    assert outcome.response.status == status


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "POST"])
def test_page_with_another_method_is_405(method: str) -> None:
    answer = Answer.of(go(make(None), "/", method=method, headers={"origin": "http://e"}).response)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_sign_in_address_redirects_to_the_page() -> None:
    worker = make()
    for path in ("/dashboard/sign-in", "/dashboard/sign-out"):
        assert dict(go(worker, path).response.headers)["Location"] == "../"
    cookie = {"cookie": cookie_of(sign_in(worker, "alpha-key"))}
    for path, where in (("/dashboard", "./"), ("/dashboard/", "../")):
        outcome = go(worker, path, headers=cookie)
        assert dict(outcome.response.headers)["Location"] == where


def responses_of_every_kind() -> list[Response]:
    worker, origin = make(), {"origin": "http://qoe.example:8787"}
    cookie = {"cookie": cookie_of(sign_in(worker, "alpha-key")), **origin}
    seen = Request("GET", "/", headers={**HOST, **cookie})
    tagged = (("Content-Type", "text/css"), ("ETag", '"v"'), ("Cache-Control", "private"))
    known = Request(
        "GET", "/dashboard/a.css", headers={**HOST, **cookie, "if-none-match": '"x", W/"v"'}
    )
    return [
        go(worker, "/", headers=origin).response,
        go(worker, "/dashboard/api/x", headers=origin).response,
        go(worker, "/dashboard", headers=cookie).response,
        go(worker, "/", method="PUT", headers=cookie).response,
        go(worker, "/", query="&".join(f"a{n}=1" for n in range(99)), headers=cookie).response,
        *(go(worker, "/dashboard/sign-in", method="POST", headers=FORM, body=b"key=" + key).response
          for key in (b"no", b"alpha-key", b"x" * 9_000)),
        shown(worker, seen, Page(200, (("Content-Type", "text/html"),), b"<p>")),
        shown(worker, seen, Page(404, (), b"")),
        shown(worker, known, Page(200, tagged, b"p{}")),
    ]  # fmt: skip


@pytest.mark.parametrize("response", responses_of_every_kind(), ids=lambda one: str(one.status))
def test_every_response_has_the_security_headers(response: Response) -> None:
    headers = Answer.of(response).headers
    assert not [name for name in headers if name.lower().startswith("access-control-")]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Vary"] == "Cookie"
    assert headers["Cache-Control"] in ("no-store", "private")


def test_form_complies_with_its_policy() -> None:
    answer = Answer.of(go(make(), "/").response)
    (style,) = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    assert b"style=" not in answer.body


def test_known_etag_gives_304() -> None:
    worker = make(None)
    page = Page(200, (("Content-Type", "text/css"), ("ETag", '"v1"')), b"p{}")
    for known, status in (('"v1"', 304), ('W/"v1"', 304), ("*", 304), ('"v0"', 200), ("", 200)):
        request = Request("GET", "/dashboard/a.css", headers={"if-none-match": known})
        answer = Answer.of(shown(worker, request, page))
        assert (answer.status, answer.body) == (status, b"" if status == 304 else b"p{}")
        assert answer.headers["ETag"] == '"v1"'
        assert ("Content-Type" in answer.headers) == (status == 200)


def test_page_request_is_counted_when_answered() -> None:
    worker = make(None)
    request = Request("GET", "/")
    shown(worker, request, Page(200))
    text = handle(worker, Request("GET", "/metrics"), NOW).response.body.decode()
    assert 'requests_total{route="dashboard",status="200"} 1' in text
    assert 'status="503"' not in text


# Scopes and organisations


def keys_file(**entries: dict[str, object]) -> bytes:
    """A keys file: the keyword is the key's text and its name."""
    return json.dumps(
        [
            {"sha256": sha256(text.encode()).hexdigest(), "name": text, **entry}
            for text, entry in entries.items()
        ]
    ).encode()


FILE = keys_file(
    acme={"scopes": ["read", "logs"], "orgs": ["acme", "acme-eu"]},
    numbers={"scopes": ["read"]},
    page={"scopes": ["ingest"]},
)


def make_with_file(file: bytes = FILE) -> Worker:
    config = Config.from_environment({"OPENQOE_KEYS_FILE": "/keys.json"})
    return Worker(config, instance="d-0", embedded=True, keys=file, secret=SECRET)


def test_pages_are_limited_to_the_organisations_of_the_key() -> None:
    worker = make_with_file()
    for key, orgs in (("acme", ("acme", "acme-eu")), ("numbers", None)):
        cookie = {"cookie": cookie_of(sign_in(worker, key))}
        for path, headers in (
            ("/", cookie),
            ("/dashboard/api/overview", cookie),
            ("/dashboard/api/overview", {"x-api-key": key}),
        ):
            page = page_of(go(worker, path, headers=headers))
            assert page is not None
            assert page.orgs == orgs


def test_state_of_the_worker_is_not_given_to_keys_of_some_organisations() -> None:
    worker = make_with_file()
    for key, is_given in (("numbers", True), ("acme", False)):
        page = page_of(go(worker, "/dashboard/api/delivery", headers={"x-api-key": key}))
        assert page is not None
        assert (page.worker_state is not None) == is_given


def test_raw_events_need_the_scope_logs() -> None:
    worker = make_with_file()
    for key, is_open in (("acme", True), ("numbers", False)):
        for headers in ({"x-api-key": key}, {"cookie": cookie_of(sign_in(worker, key))}):
            for path in ("/dashboard/api/tail", "/dashboard/api/tail/"):
                outcome = go(worker, path, headers=headers)
                assert (page_of(outcome) is not None) == is_open
                assert is_open or outcome.response.status == 403


def test_ids_of_viewers_are_hidden_from_keys_without_the_scope_logs() -> None:
    worker = make_with_file()
    for key, hides in (("acme", False), ("numbers", True)):
        for headers in ({"x-api-key": key}, {"cookie": cookie_of(sign_in(worker, key))}):
            page = page_of(go(worker, "/dashboard/api/views", headers=headers))
            assert page is not None
            assert page.hides_viewers == hides


def test_key_that_only_sends_events_does_not_sign_in() -> None:
    for worker, key in ((make_with_file(), b"page"), (make(), b"players")):
        outcome = go(worker, "/dashboard/sign-in", method="POST", headers=FORM, body=b"key=" + key)
        answer = Answer.of(outcome.response)
        assert answer.status == 403
        assert b"has not the scope" in answer.body
        assert "Set-Cookie" not in answer.headers


def test_ingest_key_alone_signs_in_from_this_machine_only() -> None:
    config = Config.from_environment({"API_KEY": "k"})
    worker = Worker(config, instance="d-0", embedded=True, secret=SECRET)
    here = {"host": "localhost:8787", "origin": "http://localhost:8787"}
    form = Request("POST", "/dashboard/sign-in", headers=here, body=b"key=k", client="127.0.0.1")
    answer = Answer.of(handle(worker, form, NOW).response)
    assert answer.status == 303
    cookie = {"cookie": cookie_of(answer)}
    for client, is_open in (("127.0.0.1", True), ("203.0.113.7", False)):
        request = Request("GET", "/", headers=cookie, client=client)
        assert (page_of(handle(worker, request, NOW)) is not None) == is_open
    remote = Answer.of(handle(worker, replace(form, client="203.0.113.7"), NOW).response)
    assert remote.status == 403
    assert b"OPENQOE_READ_KEY" in remote.body


def test_session_ends_when_its_key_is_revoked() -> None:
    cookie = {"cookie": cookie_of(sign_in(make_with_file(), "numbers"))}
    assert page_of(go(make_with_file(), "/", headers=cookie)) is not None
    revoked = keys_file(numbers={"scopes": ["read"], "revoked": True})
    assert page_of(go(make_with_file(revoked), "/", headers=cookie)) is None


def test_host_name_of_a_rebinding_attack_sees_nothing() -> None:
    config = Config()
    worker = Worker(config, instance="d-0", embedded=True)
    for path in ("/", "/dashboard/app.js", "/dashboard/api/tail", "/dashboard"):
        outcome = go(worker, path)
        assert outcome.response.status == 403
        assert b"OPENQOE_ALLOWED_HOSTS" in outcome.response.body

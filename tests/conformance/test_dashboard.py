"""The dashboard in every host: pages, API, sign-in, refusal of other visitors."""

import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.support.hosts import Host
from tests.support.worker_process import WorkerProcess

KEY = "open sesame & more"


@pytest.fixture(scope="module")
def locked(host: Host) -> Iterator[WorkerProcess]:
    """A worker that requires a key."""
    with host.run({"API_KEY": f"other, {KEY}"}) as worker:
        yield worker


def sign_in(worker: WorkerProcess, key: str) -> tuple[int, dict[str, str], bytes]:
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": worker.url,
        "Sec-Fetch-Site": "same-origin",
    }
    form = urlencode({"key": key}).encode()
    return worker.request("POST", "/dashboard/sign-in", form, headers)


def test_dashboard_page_and_files_are_served(worker: WorkerProcess) -> None:
    status, headers, page = worker.request("GET", "/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["content-security-policy"]
    names = re.findall(rb'(?:href|src)="(dashboard/(?!api/)[^"]+)"', page)
    assert names
    for name in names:
        status, headers, content = worker.request("GET", f"/{name.decode()}")
        assert status == 200, name
        assert content
        assert "immutable" in headers["cache-control"], name
        tag = {"If-None-Match": headers["etag"]}
        assert worker.request("GET", f"/{name.decode()}", headers=tag)[::2] == (304, b"")


def test_dashboard_head_request_has_no_body(worker: WorkerProcess) -> None:
    _, expected, page = worker.request("GET", "/")
    status, headers, body = worker.request("HEAD", "/")
    assert (status, body) == (200, b"")
    assert headers["content-length"] == expected["content-length"] == str(len(page))


def test_missing_dashboard_file_is_not_found(worker: WorkerProcess) -> None:
    for path in ("/dashboard/nothing", "/dashboard/../pages.py", "/dashboard/%2e%2e/pages.py"):
        assert worker.request("GET", path)[0] == 404


def test_dashboard_api_answers(worker: WorkerProcess) -> None:
    status, headers, body = worker.request(
        "GET", "/dashboard/api/overview?last=15m&org_id=unknown-org"
    )
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert json.loads(body)["current"]["views_started"] == 0
    status, _, body = worker.request("GET", "/dashboard/api/overview?last=soon")
    assert (status, json.loads(body)["errors"][0]["parameter"]) == (400, "last")


def test_visitor_without_session_sees_only_sign_in_form(locked: WorkerProcess) -> None:
    status, headers, form = locked.request("GET", "/")
    assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b"<form" in form
    for path in ("/dashboard/app.css", "/dashboard/api/anything"):
        assert locked.request("GET", path)[0] == 401
    assert sign_in(locked, "open sesame")[0] == 401


def test_signed_in_visitor_sees_dashboard(locked: WorkerProcess) -> None:
    status, headers, _ = sign_in(locked, KEY)
    assert (status, headers["location"]) == (303, "../")
    cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
    status, _, page = locked.request("GET", "/", headers=cookie)
    assert status == 200
    assert b'name="key"' not in page
    assert b'id="tiles"' in page
    assert locked.request("GET", "/dashboard/app.css", headers=cookie)[0] == 200


def test_dashboard_sends_no_cross_origin_permission(worker: WorkerProcess) -> None:
    origin = {"Origin": "https://other.example"}
    _, headers, _ = worker.request("GET", "/", headers=origin)
    assert not [name for name in headers if name.startswith("access-control-")]
    status, headers, _ = worker.request("OPTIONS", "/", headers=origin)
    assert status == 405
    assert not [name for name in headers if name.startswith("access-control-")]

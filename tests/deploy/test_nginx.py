"""deploy/nginx/openqoe.conf in a real nginx, in front of a real worker."""

import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
import trustme

from tests.deploy.deploy_files import DEPLOY
from tests.support.event_builders import batch, event
from tests.support.services import free_port, require, wait_until
from tests.support.worker_process import WorkerProcess

SITE = DEPLOY / "nginx" / "openqoe.conf"


def current_batch(view_id: str = "v") -> bytes:
    return batch(event(at=int(time.time() * 1000), view_id=view_id, network={}))


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess({"OPENQOE_FLUSH_INTERVAL": "1"}) as worker:
        yield worker


@pytest.fixture(scope="module")
def client(
    worker: WorkerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of the worker through nginx, over TLS."""
    nginx, tmp_path = require("nginx"), tmp_path_factory.mktemp("nginx")
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "site.pem"))
    site = SITE.read_text(encoding="utf-8")
    for ours, theirs in (
        ("127.0.0.1:8787", f"127.0.0.1:{worker.port}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/qoe.example.com.pem", f"{tmp_path}/site.pem"),
        ("/etc/ssl/private/qoe.example.com.key", f"{tmp_path}/site.pem"),
    ):
        assert ours in site
        site = site.replace(ours, theirs)
    (tmp_path / "site.conf").write_text(site)
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; user root; events {{}}"
        f"http {{ access_log off; {folders} include {tmp_path}/site.conf; }}"
    )
    process = subprocess.Popen(
        [nginx, "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"], stderr=subprocess.DEVNULL
    )
    context = httpx.create_ssl_context()
    authority.configure_trust(context)
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context) as client:

        def answers() -> bool:
            assert process.poll() is None
            try:
                return client.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, description="nginx to answer")
            yield client
        finally:
            process.terminate()
            process.wait(20)


def test_nginx_exposes_only_public_paths(client: httpx.Client) -> None:
    accepted = client.post("/v2/events", content=current_batch(), headers={"Origin": "https://a.b"})
    assert accepted.status_code == 202
    assert accepted.headers["Access-Control-Allow-Origin"] == "https://a.b"
    assert client.options("/v1/events").status_code == 204
    assert client.get("/ready").status_code == 200
    for inside in ("/metrics", "/v1/metrics", "/stats", "/", "/events/x"):
        assert client.get(inside).status_code == 404


def test_nginx_ignores_country_header_of_client(
    client: httpx.Client, worker: WorkerProcess
) -> None:
    client.post("/v1/events", content=current_batch("v-1"), headers={"CF-IPCountry": "FR"})
    values = worker.request("GET", "/stats?dimension=network_country")[2]
    assert b"FR" not in values
    worker.request("POST", "/v1/events", current_batch("v-2"), {"CF-IPCountry": "FR"})
    values = worker.request("GET", "/stats?dimension=network_country")[2]
    assert b"FR" in values


def test_nginx_refuses_too_large_body(client: httpx.Client) -> None:
    assert client.post("/v1/events", content=b" " * (5 << 20) + b" ").status_code == 413

"""API keys in the access logs of other servers."""

import logging
import sys
import time

import pytest

from openqoe.shells.net.access_logs import LOGGERS, redact_keys
from tests.support.event_builders import batch, event
from tests.support.raw_client import RawClient, encode_post
from tests.support.worker_process import Command, WorkerProcess, gunicorn, with_options

SECRET = "s3cr3t-of-beacons"
ASGI = "openqoe.shells.asyncio_shell:asgi"


def module(*arguments: str) -> Command:
    return lambda port: (sys.executable, "-m", *(part.format(port=port) for part in arguments))


HOSTS = {
    "uvicorn": module("uvicorn", "--port", "{port}", ASGI),
    "hypercorn": module("hypercorn", "--bind", "127.0.0.1:{port}", "--access-logfile", "-", ASGI),
    "granian": module("granian", "--interface", "asgi", "--port", "{port}", "--access-log", ASGI),
    "gunicorn": with_options(gunicorn("gthread"), "--access-logfile", "-"),
}


@pytest.mark.parametrize("host", HOSTS)
def test_access_log_of_host_has_no_api_key(host: str) -> None:
    with WorkerProcess({"API_KEY": SECRET}, command=HOSTS[host]) as worker:
        for path in (f"/v1/events?api_key={SECRET}&x=1", f"/v1/events?y=1&API_KEY={SECRET}"):
            with RawClient(worker.port) as client:
                client.send(encode_post(batch(event("viewstart")), path=path))
                client.read_response()
        time.sleep(0.2)
        assert SECRET not in worker.log_text()
        if host in ("uvicorn", "gunicorn"):  # the others log the path only
            assert "REDACTED" in worker.log_text()


@pytest.mark.parametrize("name", LOGGERS)
def test_keys_are_redacted_in_all_forms_of_records(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    redact_keys()
    redact_keys()
    logger = logging.getLogger(name)
    assert len(logger.filters) == 1
    with caplog.at_level("INFO", logger=name):
        logger.propagate = True
        logger.info('%s "%s"', "1.2.3.4", f"POST /events?api_key={SECRET} HTTP/1.1")
        logger.info("%(r)s %(s)s", {"r": f"GET /?a=1&api_key={SECRET}", "s": 200})
        logger.info(f"GET /?api_key%3D{SECRET}&b=1 200")
    assert SECRET not in caplog.text
    assert "&b=1 200" in caplog.text

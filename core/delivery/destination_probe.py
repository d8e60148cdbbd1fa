"""Probes a destination with a harmless request, and diagnoses its answer.

The probe has the URL and the headers of every other request, and leaves no data behind: a write
request without series, or a push without streams. Receivers of metrics answer 2xx. Loki answers
204, from 3.2 on 422 ("at least one valid stream is required", grafana/loki #13706). All of them
check credentials and tenant first.

Other paths of a server may answer 2xx to anything: ``/flush``, ``/ready``, a page. So a second
probe, whose body no receiver can read, follows a 2xx: a push endpoint does not accept it. There is
none where a usual path answers 204, as Prometheus and Loki do: it would be an error in their logs.
"""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from ..config.destinations import EMBEDDED, Destination
from ..effects import HttpResult, LokiPush, NetworkFailure, PayloadKind, RemoteWrite
from ..wire import remote_write
from ..wire.loki_push import ENCODINGS
from .delivery_rules import build_request
from .error_text import find_secrets, redacted_text
from .payload import Payload
from .verdict import parse_http_date

Level = Literal["ok", "warn", "fail"]

TOLERATED_SKEW: Final = 30_000
"""ms by which clocks may differ without a finding."""

MAX_SKEW: Final = 300_000
"""ms from which a difference is a failure: receivers reject samples and entries from the future."""

LATE_SAMPLES_ADVICE: Final = (
    "after an outage, Prometheus and Mimir accept samples over an hour late only if "
    "out_of_order_time_window is set, best to OPENQOE_OUTBOX_MAX_AGE"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        level: Its severity.
        subject: The thing that was checked.
        text: The state that was found.
        advice: The remedy; "" if none is needed.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""


MALFORMED_BODY: Final = b"openqoe check: neither snappy nor gzip"


def build_probe(
    destination: Destination,
    kind: PayloadKind,
    loki_encoding: str,
    *,
    is_malformed: bool = False,
) -> RemoteWrite | LokiPush:
    """Builds a request without data, as the worker would send it.

    Args:
        destination: The destination; not the embedded store.
        kind: The payloads it receives.
        loki_encoding: "protobuf" or "json".
        is_malformed: Whether the body must be unreadable.
    """
    assert not destination.url.startswith(EMBEDDED)
    if kind == "metrics":
        headers, body = remote_write.HEADERS, remote_write.compress(())
    else:
        encoding = ENCODINGS[loki_encoding]
        headers, body = encoding.headers, encoding.encode_request(())
    if is_malformed:
        body = MALFORMED_BODY
    payload = Payload(kind, headers, body, items=0, created=0)
    request = build_request(destination, payload, 1)
    assert isinstance(request, RemoteWrite | LokiPush), "servers get metrics and logs"
    return request


def is_malformed_probe_needed(
    destination: Destination, result: HttpResult | NetworkFailure
) -> bool:
    """Whether the answer to a probe may be one to any request."""
    if isinstance(result, NetworkFailure) or not _is_success(result):
        return False
    return result.status != 204 or not urlsplit(destination.url).path.endswith(("/push", "/write"))


def _is_success(result: HttpResult | NetworkFailure | None) -> bool:
    return isinstance(result, HttpResult) and 200 <= result.status < 300


def diagnose_answer(
    destination: Destination,
    kind: PayloadKind,
    result: HttpResult | NetworkFailure,
    now: int,
    *,
    malformed_result: HttpResult | NetworkFailure | None = None,
) -> tuple[Finding, ...]:
    """Diagnoses a destination by its answer to a probe.

    Args:
        destination: The destination.
        kind: The payloads it receives.
        result: The answer, or a network failure.
        now: Arrival of the answer by our clock, in ms.
        malformed_result: The answer to the malformed probe, if there was one.
    """
    subject = f"{kind}: {destination.name}"
    error_text = redacted_text(result, find_secrets(destination.headers))
    host = urlsplit(destination.url).netloc.rpartition("@")[2]
    if isinstance(result, NetworkFailure):
        return (
            Finding(
                "fail", subject, f"cannot reach {host}: {error_text}", _network_advice(error_text)
            ),
        )
    level, text, advice = _explain_status(destination, kind, result.status)
    if level == "ok" and _is_success(malformed_result):
        path = urlsplit(destination.url).path or "/"
        level, text, advice = "fail", f"but {path} accepts anything", _path(destination, kind)
    quoted = f': "{error_text}"' if error_text and level != "ok" else ""
    finding = Finding(level, subject, f"{host} answers {result.status}, {text}{quoted}", advice)
    return finding, *_check_clock(subject, result, now)


def _explain_status(
    destination: Destination, kind: PayloadKind, status: int
) -> tuple[Level, str, str]:
    """The meaning of a status, and the remedy."""
    path = urlsplit(destination.url).path or "/"
    if kind == "logs" and status == 260:
        return (
            "fail",
            "ingestion is blocked",
            "ask the operator of Loki: its limits block this tenant",
        )
    if kind == "logs" and 200 <= status < 300 and not _is_push_path(path):
        return "fail", f"but {path} is no push endpoint", _path(destination, kind)
    if 200 <= status < 300 or (kind == "logs" and status == 422):
        return "ok", "it accepts requests", "" if kind == "logs" else LATE_SAMPLES_ADVICE
    if 300 <= status < 400:
        return "fail", "it redirects", "set the target URL: redirects are not followed"
    if status == 401:
        return "fail", "the credentials are missing or wrong", _credentials(destination)
    if status == 403:
        more = "; the key needs the roles MetricsPublisher and LogsPublisher" * _is_cloud(
            destination
        )
        return "fail", "the credentials do not allow writing", _credentials(destination) + more
    if status in (404, 405):
        return "fail", f"it accepts no requests at {path}", _path(destination, kind)
    if status in (400, 422):
        more = ", OPENQOE_TENANT, and http:// or https://"
        return "fail", "it refuses a harmless request", _path(destination, kind) + more
    if status in (413, 415):
        return "fail", "it does not accept the worker's format", _path(destination, kind)
    if status in (429, 529):
        return "warn", "it limits the rate", "raise the tenant's limits if that persists"
    if status >= 500:
        return "fail", "it cannot accept requests now", "check its log; try again"
    return "fail", "which is unexpected", _path(destination, kind)


def _is_push_path(path: str) -> bool:
    """Whether a path may be one of Loki's push endpoints: other paths answer 2xx to anything."""
    return path.rstrip("/").endswith(("/push", "/insert/loki"))


def _credentials(destination: Destination) -> str:
    if _is_cloud(destination):
        return "check GRAFANA_CLOUD_INSTANCE_ID (a number, of this stack) and GRAFANA_CLOUD_API_KEY"
    prefix = destination.name.upper()
    return f"check {prefix}_USERNAME and {prefix}_PASSWORD, and OPENQOE_TENANT if it has tenants"


def _is_cloud(destination: Destination) -> bool:
    return destination.name.startswith("grafana_cloud")


def _path(destination: Destination, kind: PayloadKind) -> str:
    if destination.is_url_derived:
        return "the URL was derived from the region: set the one shown on your stack's page"
    if kind == "logs":
        return "the URL of Loki ends in /loki/api/v1/push"
    if destination.name == "mimir":
        return "the URL of Mimir ends in /api/v1/push"
    if _is_cloud(destination):
        return "the URL of Grafana Cloud ends in /api/prom/push"
    return "the URL ends in /api/v1/write, and Prometheus needs --web.enable-remote-write-receiver"


_NETWORK: Final = (
    (
        ("certificate", "CERTIFICATE"),
        "its certificate is not trusted: use the host name in the certificate, or add its CA to "
        "the system's (SSL_CERT_FILE names a file of CAs)",
    ),
    (
        ("Name or service", "resolution", "nodename", "getaddrinfo", "No address", "DNS"),
        "the name cannot be resolved: check its spelling, and the DNS of this host",
    ),
    (
        ("Connect call failed", "refused"),
        "no process listens there: check that it runs, and the port",
    ),
    (
        ("[SSL", "SSLError", "TLS", "record layer"),
        "the TLS handshake fails: check http:// or https://, and the port",
    ),
    (
        ("no answer within", "imed out", "imeout"),
        "packets are dropped, or it is overloaded: check firewalls",
    ),
)


def _network_advice(reason: str) -> str:
    for signs, advice in _NETWORK:
        if any(sign in reason for sign in signs):
            return advice
    return "check the network between the two hosts"


def _check_clock(subject: str, result: HttpResult, now: int) -> tuple[Finding, ...]:
    date = parse_http_date(result.headers.get("date", ""))
    if date is None:
        return ()
    skew = now - date
    if abs(skew) <= TOLERATED_SKEW:
        return ()
    text = f"this clock is {abs(skew) / 1000:,.0f} s {'ahead of' if skew > 0 else 'behind'} it"
    level: Level = "fail" if abs(skew) > MAX_SKEW else "warn"
    return (Finding(level, subject, text, "synchronize the clocks by NTP"),)

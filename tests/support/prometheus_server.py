"""A real Prometheus (Debian's package) as a remote-write receiver.

with Prometheus() as prometheus:
    ...                                              # write to prometheus.write_url
    assert prometheus.value("sum(openqoe_events_total)") == 4000
    prometheus.assert_nothing_rejected()
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.support.services import fast_folder, free_port, require, wait_until

BINARY: Final = "prometheus"
WRITE_HANDLER: Final = "/api/v1/write"

_LOG_COMPLAINT: Final = re.compile(
    r"out of order|out of bounds|out-of-order|duplicate sample|too old|remote write", re.IGNORECASE
)
_OUT_OF_ORDER: Final = re.compile(
    r'"out of order sample" series="((?:[^"\\]|\\.)*)" timestamp=(\d+)'
)
_METRIC_LINE: Final = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)(?: -?[0-9]+)?$")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

Labels = dict[str, str]
OwnMetrics = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Instant(NamedTuple):
    """One element of an instant vector; a scalar has no labels."""

    labels: Labels
    ts: float
    value: float


class Range(NamedTuple):
    """One element of a range vector: `samples` are (seconds, value)."""

    labels: Labels
    samples: list[tuple[float, float]]


class Rejects(NamedTuple):
    """The samples that Prometheus refused, from several sources. Observed with version 2.42:

    | a sample ...                          | response        | shows in                   |
    | ------------------------------------- | --------------- | -------------------------- |
    | older than the newest of its series   | 400, none kept  | out_of_order, complaints   |
    | equal to it                           | 204             | swallowed                  |
    | equal to it but for the value         | 400, none kept  | complaints (no counter)    |
    | over 1 h older than the newest of all | 400, none kept  | out_of_bounds, complaints  |
    | older than one of its own request     | 204, rest kept  | out_of_order, swallowed    |
    | another value in its own request      | 204, first kept | swallowed                  |
    | not snappy, not protobuf              | 400             | complaints                 |

    "None kept" concerns the whole request, with its valid series. Each 400 is in refused_requests.
    Prometheus accepts invalid metric and label names, unsorted labels and empty values silently;
    RemoteWriteDouble detects them. It keeps a sample from the future, after which every sample more
    than 1 h older is out of bounds.
    """

    out_of_order: float
    out_of_bounds: float
    too_old: float
    refused_requests: float
    """Writes not answered with 204."""
    swallowed: float
    """Samples answered with 204 but not stored, copies of stored ones included."""
    complaints: list[str]
    """Log lines about refused samples."""


class QueryError(Exception):
    """Prometheus refused a query; the message is Prometheus' own."""


class Prometheus:
    """A Prometheus process with its own data directory, process group and loopback port."""

    def __init__(
        self, *, flags: Sequence[str] = (), config: str = "", address: str = "127.0.0.1"
    ) -> None:
        """Prepare a process.

        Args:
            flags: Further command-line options.
            config: Text to append to the configuration file (YAML).
            address: The listen address; "0.0.0.0" for all.
        """
        self._address = address
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.write_url = f"{self.url}{WRITE_HANDLER}"
        self._flags = tuple(flags)
        self._config = config
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # --- lifecycle --------------------------------------------------------------------------------

    @staticmethod
    def available() -> bool:
        """Whether the program is installed."""
        return shutil.which(BINARY) is not None

    def start(self, timeout: float = 30.0) -> None:
        """Start and wait until it is ready; after a stop() with the same port and data.

        Skips the test if Prometheus is not installed.
        """
        if self._process is not None:
            raise RuntimeError("Prometheus is already running")
        binary = require(BINARY)
        if self._home is None:
            self._home = fast_folder("openqoe-prometheus-")
            (self._home / "prometheus.yml").write_text(
                f"global:\n  scrape_interval: 1h\n{self._config}"
            )
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={self._home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._home / 'data'}",
                    f"--web.listen-address={self._address}:{self.port}",
                    "--web.enable-remote-write-receiver",
                    "--query.lookback-delta=5m",
                    *self._flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Its heap is small: fewer garbage collections save a third of its CPU time.
                env={**os.environ, "GOGC": "400"},
            )
        atexit.register(self.close)
        try:
            wait_until(self._ready, timeout, "Prometheus to be ready", interval=0.05)
        except BaseException:
            log_text = self.log()
            self.stop()
            raise AssertionError(f"Prometheus did not start:\n{log_text[-3000:]}") from None

    def stop(self, timeout: float = 10.0) -> None:
        """Send SIGTERM to the process group, SIGKILL after the timeout. A no-op when not running.

        The data remains until close().
        """
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()
        self._process = None

    def kill(self) -> None:
        """Send SIGKILL, to simulate a crash."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start with the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Send SIGSTOP: the kernel accepts connections, but no request is answered."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # until it has stopped

    def resume(self) -> None:
        """Send SIGCONT."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop and remove the data."""
        self.stop()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id while running."""
        return None if self._process is None else self._process.pid

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError("Prometheus ended")
        try:
            self._get("/-/ready")
        except (OSError, QueryError):
            return False
        return True

    # --- queries ----------------------------------------------------------------------------------

    def query(self, promql: str, at: float | None = None) -> list[Instant]:
        """Run an instant query, now or `at` (seconds since the epoch). A scalar is one element
        without labels.
        """
        data = self._api("query", {"query": promql, "time": at})
        if data["resultType"] == "scalar":
            ts, text = data["result"]
            return [Instant({}, ts, float(text))]
        if data["resultType"] != "vector":
            raise QueryError(f"{promql} is a {data['resultType']}; use samples()")
        return [
            Instant(item["metric"], item["value"][0], float(item["value"][1]))
            for item in data["result"]
        ]

    def value(self, promql: str, at: float | None = None) -> float | None:
        """The value of a query with one result; None if it has none."""
        found = self.query(promql, at)
        if len(found) > 1:
            raise AssertionError(
                f"{promql} gives {len(found)} elements: {[item.labels for item in found]}"
            )
        return found[0].value if found else None

    def query_range(self, promql: str, start: float, end: float, step: float) -> list[Range]:
        """Run a range query; times in seconds."""
        data = self._api("query_range", {"query": promql, "start": start, "end": end, "step": step})
        return [_range(item) for item in data["result"]]

    def samples(self, selector: str, window: str = "1h", at: float | None = None) -> list[Range]:
        """The stored samples of a `selector[window]` query, without stale markers, which Prometheus
        hides.
        """
        data = self._api("query", {"query": f"{selector}[{window}]", "time": at})
        return [_range(item) for item in data["result"]]

    def series(
        self, *matchers: str, start: float | None = None, end: float | None = None
    ) -> list[Labels]:
        """The matching label sets, `__name__` included."""
        data = self._api("series", {"match[]": list(matchers), "start": start, "end": end})
        found: list[Labels] = data
        return found

    def label_values(self, label: str) -> list[str]:
        """Every value of a label."""
        values: list[str] = self._api(f"label/{label}/values", {})
        return values

    # --- health -----------------------------------------------------------------------------------

    def own_metrics(self) -> OwnMetrics:
        """The metrics of Prometheus itself as {(name, labels): value}."""
        result: OwnMetrics = {}
        for line in self._get("/metrics").decode().splitlines():
            match = _METRIC_LINE.match(line)
            if match is not None:
                name, labels, value = match.groups()
                result[name, frozenset(_LABEL.findall(labels or ""))] = float(value)
        return result

    def own_metric(self, name: str, **labels: str) -> float:
        """The sum of one of its own metrics over all series with these labels; 0 without any."""
        return _sum(self.own_metrics(), name, **labels)

    def rejects(self, *, copies_allowed: bool = False) -> Rejects:
        """Collect what it refused: counters since the last start, complaints since the first.

        With `copies_allowed`, copies of stored samples are left out. A retry after a lost response
        sends copies; one that arrives after newer samples is "out of order".
        """
        metrics = self.own_metrics()
        rejects = Rejects(
            out_of_order=_sum(metrics, "prometheus_tsdb_out_of_order_samples_total"),
            out_of_bounds=_sum(metrics, "prometheus_tsdb_out_of_bound_samples_total"),
            too_old=_sum(metrics, "prometheus_tsdb_too_old_samples_total"),
            refused_requests=_sum(metrics, "prometheus_http_requests_total", handler=WRITE_HANDLER)
            - _sum(metrics, "prometheus_http_requests_total", handler=WRITE_HANDLER, code="204"),
            swallowed=_sum(metrics, "prometheus_remote_storage_samples_in_total")
            - _sum(metrics, "prometheus_tsdb_head_samples_appended_total"),
            complaints=self.complaints(),
        )
        if not copies_allowed:
            return rejects
        others = [line for line in rejects.complaints if not self._is_late_copy(line)]
        late = len(rejects.complaints) - len(others)
        return rejects._replace(
            out_of_order=max(0, rejects.out_of_order - late),
            refused_requests=max(0, rejects.refused_requests - late),
            swallowed=0,
            complaints=others,
        )

    def assert_nothing_rejected(
        self, *, copies_allowed: bool = False, cut_off_allowed: bool = False
    ) -> None:
        """Fail the test if any sample or write was refused.

        Args:
            copies_allowed: Whether responses may have been lost (see rejects()).
            cut_off_allowed: Whether a killed sender may have left incomplete requests.
        """
        rejects = self.rejects(copies_allowed=copies_allowed)
        if cut_off_allowed:
            others = [line for line in rejects.complaints if "unexpected EOF" not in line]
            cut_off = len(rejects.complaints) - len(others)
            rejects = rejects._replace(
                refused_requests=rejects.refused_requests - cut_off, complaints=others
            )
        assert rejects == Rejects(0, 0, 0, 0, 0, []), f"Prometheus refused samples: {rejects}"

    def log(self) -> str:
        """The log so far."""
        return "" if self._home is None else (self._home / "log").read_text(errors="replace")

    def complaints(self) -> list[str]:
        """Log lines about refused samples."""
        return [
            line
            for line in self.log().splitlines()
            if not re.search(r"level=(info|debug)", line) and _LOG_COMPLAINT.search(line)
        ]

    def _is_late_copy(self, complaint: str) -> bool:
        """Whether a log line is about an out-of-order sample that is already stored."""
        named = _OUT_OF_ORDER.search(complaint)
        if named is None:
            return False
        selector: str = json.loads(f'"{named[1]}"')  # Go quotes this much as JSON does
        at = int(named[2]) / 1000
        found = self.samples(selector, "1s", at)
        return any(ts == at for series in found for ts, _ in series.samples)

    # --- HTTP -------------------------------------------------------------------------------------

    def _api(self, endpoint: str, parameters: Mapping[str, Any]) -> Any:
        given = {name: value for name, value in parameters.items() if value is not None}
        answer = json.loads(
            self._get(f"/api/v1/{endpoint}?{urllib.parse.urlencode(given, doseq=True)}")
        )
        return answer["data"]

    def _get(self, path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as response:
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as fault:
            raise QueryError(f"{fault.code}: {fault.read().decode(errors='replace')}") from None


def _range(item: Mapping[str, Any]) -> Range:
    return Range(item["metric"], [(ts, float(value)) for ts, value in item["values"]])


def _sum(metrics: OwnMetrics, metric: str, **labels: str) -> float:
    wanted = frozenset(labels.items())
    return math.fsum(
        value for (name, found), value in metrics.items() if name == metric and wanted <= found
    )

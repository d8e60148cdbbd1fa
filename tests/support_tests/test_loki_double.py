"""Tests of the Loki double: each rule of a real Loki, in JSON and in protobuf."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pytest

from tests.support.loki_double import LogEntry, LokiDouble, LokiLimits, format_labels
from tests.support.wire_codec import PushEntry, encode_push_request
from tests.support_tests.plain_client import TextResponse, send

NOW_MS: Final = 1_800_000_000_000
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

Streams = Sequence[tuple[Mapping[str, str], Sequence[PushEntry]]]


def at(offset_ms: int, line: str = "line", **metadata: str) -> PushEntry:
    """An entry at an offset from now."""
    return PushEntry((NOW_MS + offset_ms) * 1_000_000, line, metadata)


class Pusher:
    """Pushes entries in one of the two formats."""

    def __init__(self, loki: LokiDouble, kind: str) -> None:
        self.loki = loki
        self.kind = kind

    def __call__(
        self, *streams: tuple[Mapping[str, str], Sequence[PushEntry]], **headers: str
    ) -> TextResponse:
        body, content_type = self.encode(streams)
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(self.loki.push_url, body, {"Content-Type": content_type, **extra})

    def encode(self, streams: Streams) -> tuple[bytes, str]:
        if self.kind == "protobuf":
            texts = [(format_labels(labels), entries) for labels, entries in streams]
            return encode_push_request(texts), "application/x-protobuf"
        document = {
            "streams": [
                {
                    "stream": labels,
                    "values": [
                        [str(entry.timestamp_ns), entry.line, entry.metadata] for entry in entries
                    ],
                }
                for labels, entries in streams
            ]
        }
        return json.dumps(document).encode(), "application/json"

    def lines(self) -> list[str]:
        return [entry.line for entry in self.loki.entries()]

    def reasons(self) -> list[str]:
        return [item.reason for item in self.loki.rejected]


@pytest.fixture
def loki() -> Iterator[LokiDouble]:
    with LokiDouble(now_ms=lambda: NOW_MS) as double:
        yield double


@pytest.fixture(params=["json", "protobuf"])
def push(loki: LokiDouble, request: pytest.FixtureRequest) -> Pusher:
    return Pusher(loki, request.param)


def test_valid_entries_are_stored_with_metadata(push: Pusher) -> None:
    answer = push(({"org_id": "o2"}, [at(0, "a"), at(1, "b", view_id="v1")]))
    assert (answer.status, answer.text) == (204, "")
    assert push.loki.entries() == [
        LogEntry({"org_id": "o2"}, NOW_MS * 1_000_000, "a", {}),
        LogEntry({"org_id": "o2"}, (NOW_MS + 1) * 1_000_000, "b", {"view_id": "v1"}),
    ]
    assert push.loki.rejected == []


def test_query_selects_by_labels_metadata_and_text(push: Pusher) -> None:
    push(({"a": "1", "b": "1"}, [at(1, "one"), at(0, "two", view_id="v")]), ({"a": "2"}, [at(0)]))
    assert [entry.line for entry in push.loki.query({"a": "1"})] == ["two", "one"]
    assert [entry.line for entry in push.loki.query({"a": "1"}, {"view_id": "v"})] == ["two"]
    assert [entry.line for entry in push.loki.query(contains="one")] == ["one"]
    assert push.loki.query({"a": "3"}) == []
    assert push.loki.stream_count() == 2


def test_gzip_json_push_is_stored(loki: LokiDouble) -> None:
    body, content_type = Pusher(loki, "json").encode([({"a": "b"}, [at(0)])])
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
    assert send(loki.push_url, gzip.compress(body), headers).status == 204
    assert len(loki.entries()) == 1


def test_equal_entry_is_stored_once(push: Pusher) -> None:
    for _ in range(2):
        assert push(({"a": "b"}, [at(0, "x"), at(0, "y")])).status == 204
    assert push(({"a": "c"}, [at(0, "x")])).status == 204
    assert push.lines() == ["x", "y", "x"]
    assert [entry.line for entry in push.loki.duplicates] == ["x", "y"]


def test_entry_within_one_hour_of_newest_is_stored(push: Pusher) -> None:
    assert push(({"a": "b"}, [at(0, "new")])).status == 204
    assert push(({"a": "b"}, [at(-HOUR, "old")])).status == 204
    assert push.lines() == ["old", "new"]


def test_entry_too_far_behind_is_rejected_alone(push: Pusher) -> None:
    answer = push(({"a": "b"}, [at(0, "new"), at(-HOUR - 1, "late"), at(-1, "good")]))
    assert answer.status == 400
    assert "entry too far behind" in answer.text
    assert push.lines() == ["good", "new"]
    assert push.reasons() == ["too_far_behind"]
    assert push.loki.rejected[0].line == "late"
    assert push(({"a": "other"}, [at(-HOUR - 1, "late")])).status == 204, "each stream has its own"


def test_old_entry_before_new_in_one_request_is_stored(push: Pusher) -> None:
    assert push(({"a": "b"}, [at(-2 * HOUR, "old"), at(0, "new")])).status == 204


def test_entry_too_far_in_future_is_rejected(push: Pusher) -> None:
    assert push(({"a": "b"}, [at(5 * MINUTE, "5"), at(10 * MINUTE, "10")])).status == 204
    answer = push(({"a": "b"}, [at(20 * MINUTE, "20"), at(0, "0")]))
    assert answer.status == 400
    assert "timestamp too new" in answer.text
    assert push.lines() == ["0", "5", "10"]
    assert push.reasons() == ["too_far_in_future"]


def test_entry_older_than_one_week_is_rejected(push: Pusher) -> None:
    assert push(({"a": "1"}, [at(-7 * DAY, "week")])).status == 204
    answer = push(({"a": "2"}, [at(-7 * DAY - 1, "older"), at(0, "good")]))
    assert answer.status == 400
    assert "timestamp too old" in answer.text
    assert push.lines() == ["week", "good"]
    assert push.reasons() == ["greater_than_max_sample_age"]


def test_stream_with_more_than_fifteen_labels_is_rejected(push: Pusher) -> None:
    labels = {f"l{number}": "v" for number in range(16)}
    answer = push((labels, [at(0, "lost")]), ({"a": "b"}, [at(0, "kept")]))
    assert answer.status == 400
    assert "has 16 label names; limit 15" in answer.text
    assert push.lines() == ["kept"]
    del labels["l0"]
    assert push((labels, [at(0)])).status == 204


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"a": "v" * 2049}, "label_value_too_long"),
        ({"a": "é" * 1025}, "label_value_too_long"),
        ({"a" * 1025: "v"}, "label_name_too_long"),
    ],
)
def test_label_over_length_limit_is_rejected(
    push: Pusher, labels: dict[str, str], reason: str
) -> None:
    assert push((labels, [at(0, "lost")]), ({"a": "b"}, [at(0, "kept")])).status == 400
    assert push.lines() == ["kept"]
    assert push.reasons() == [reason]


def test_labels_at_length_limit_are_stored(push: Pusher) -> None:
    assert push(({"a" * 1024: "é" * 1024}, [at(0)])).status == 204


def test_line_size_limit_counts_bytes(push: Pusher) -> None:
    answer = push(({"a": "b"}, [at(0, "é" * 131_073), at(0, "x" * 262_144)]))
    assert answer.status == 400
    assert "max entry size" in answer.text
    assert push.lines() == ["x" * 262_144]
    assert push.reasons() == ["line_too_long"]


def test_structured_metadata_over_limits_is_rejected(push: Pusher) -> None:
    fits = at(1, "fits", k="v" * 65_535)
    large = at(2, "large", k="v" * 65_536)
    many = PushEntry(NOW_MS * 1_000_000, "many", {f"k{number}": "" for number in range(129)})
    limit = PushEntry(NOW_MS * 1_000_000, "limit", {f"k{number}": "" for number in range(128)})
    answer = push(({"a": "b"}, [fits, large, many, limit]))
    assert answer.status == 400
    assert push.lines() == ["limit", "fits"]
    assert push.reasons() == ["structured_metadata_too_large", "structured_metadata_too_many"]


def test_invalid_label_name_rejects_whole_request(push: Pusher) -> None:
    answer = push(({"a": "b"}, [at(0)]), ({"a-b": "c"}, [at(0)]))
    assert answer.status == 400
    assert "error parsing labels" in answer.text
    assert push.lines() == []
    assert push.reasons() == ["invalid_request"]


def test_empty_label_set_is_accepted_and_discarded(push: Pusher) -> None:
    assert push(({}, [at(0)])).status == 204
    assert push.lines() == []
    assert push.reasons() == ["missing_labels"]


def test_tenants_have_separate_streams(push: Pusher) -> None:
    push(({"a": "b"}, [at(0, "mine")]), X_Scope_OrgID="me")
    push(({"a": "b"}, [at(0, "other's")]))
    assert [entry.line for entry in push.loki.entries("me")] == ["mine"]
    assert push.lines() == ["other's"]
    assert push.loki.tenants == {"me", "fake"}


def test_push_without_required_tenant_is_refused(push: Pusher) -> None:
    push.loki.require_tenant = True
    answer = push(({"a": "b"}, [at(0)]))
    assert (answer.status, answer.text) == (401, "no org id\n")
    assert push(({"a": "b"}, [at(0)]), X_Scope_OrgID="me").status == 204


def test_failing_double_stores_nothing(push: Pusher) -> None:
    push.loki.fail_with(429, headers={"Retry-After": "1"})
    push.loki.fail_with(260, body="ingestion blocked")
    assert [push(({"a": "b"}, [at(0)])).status for _ in range(3)] == [429, 260, 204]
    assert len(push.lines()) == 1


def test_other_paths_and_methods_are_refused(loki: LokiDouble) -> None:
    assert send(loki.url + "/api/prom/push").status == 404
    assert send(loki.push_url, method="GET").status == 405


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"not json"),
        ("application/x-protobuf", b"not snappy"),
        ("text/plain", b'{"streams":[]}'),
        ("", b'{"streams":[]}'),
    ],
)
def test_undecodable_push_is_refused(loki: LokiDouble, content_type: str, body: bytes) -> None:
    assert send(loki.push_url, body, {"Content-Type": content_type}).status == 400
    assert [item.reason for item in loki.rejected] == ["invalid_request"]


# Rules of a real server that concern the whole request


def test_replacement_character_in_label_rejects_whole_request(push: Pusher) -> None:
    answer = push(({"a": "good"}, [at(0, "good")]), ({"a": "x\ufffdy"}, [at(0)]))
    assert answer.status == 400
    assert "invalid UTF-8 rune" in answer.text
    assert push.lines() == []
    push.loki.limits = LokiLimits(has_label_lexer=False)
    assert push(({"a": "x\ufffdy"}, [at(0)])).status == 204


@pytest.mark.parametrize(
    "text", ["\x00", "\x7f", "\x80\x9f", "\u2028", "\ufeff", "\"'`", "\ufffe\uffff", "🎬"]
)
def test_other_unusual_characters_in_labels_are_stored(push: Pusher, text: str) -> None:
    assert push(({"a": text}, [at(0)])).status == 204
    assert push.loki.entries()[0].labels == {"a": text}


def test_replacement_character_in_line_and_metadata_is_stored(push: Pusher) -> None:
    assert push(({"a": "b"}, [at(0, "\ufffd", title="\ufffd")])).status == 204


@pytest.mark.parametrize("tenant", ["a|b", "a b", "a/b", "..", "x" * 151])
def test_invalid_tenant_rejects_whole_request(push: Pusher, tenant: str) -> None:
    assert push(({"a": "b"}, [at(0)]), X_Scope_OrgID=tenant).status == 400
    assert push.loki.tenants == set()
    push.loki.limits = LokiLimits(has_tenant_check=False)
    assert push(({"a": "b"}, [at(0)]), X_Scope_OrgID=tenant).status == 204


def test_disallowed_structured_metadata_rejects_whole_request(push: Pusher) -> None:
    push.loki.limits = LokiLimits(has_structured_metadata=False)
    answer = push(({"a": "b"}, [at(0, "bare")]), ({"a": "c"}, [at(0, view_id="v")]))
    assert answer.status == 400
    assert "structured metadata" in answer.text
    assert push.lines() == []
    assert push(({"a": "b"}, [at(0, "bare")])).status == 204


@pytest.mark.parametrize("status", [204, 422])
def test_push_without_streams_is_answered_as_configured(push: Pusher, status: int) -> None:
    push.loki.limits = LokiLimits(empty_status=status)
    assert push().status == status
    assert push.loki.rejected == []


def test_other_endpoints_accept_push_and_store_nothing(loki: LokiDouble) -> None:
    body, content_type = Pusher(loki, "json").encode([({"a": "b"}, [at(0)])])
    headers = {"Content-Type": content_type}
    for path, status in (("/flush", 204), ("/loki/api/v1/labels", 200), ("/ready", 503)):
        assert send(loki.url + path, body, headers).status == status
    loki.limits = LokiLimits(ready_after_ns=0)
    assert send(loki.url + "/ready", body, headers).status == 200
    assert loki.entries() == []


# Limits of streams and rates


def test_new_streams_beyond_limit_are_refused_and_others_stored(push: Pusher) -> None:
    push.loki.limits = LokiLimits(max_streams=2)
    answer = push(*(({"a": str(n)}, [at(0, str(n))]) for n in range(4)))
    assert answer.status == 429
    assert "maximum active stream limit exceeded" in answer.text
    assert sorted(push.lines()) == ["0", "1"]
    assert [item.line for item in push.loki.limited] == ["2", "3"]
    assert push(({"a": "0"}, [at(1, "more")])).status == 204
    push.loki.limits = LokiLimits(max_streams=None)
    assert push(({"a": "9"}, [at(0)])).status == 204


def test_only_error_of_last_stream_is_reported(push: Pusher) -> None:
    push.loki.limits = LokiLimits(max_streams=1)
    push(({"a": "known"}, [at(0, "first")]))
    new = [({"a": str(n)}, [at(0, f"lost {n}")]) for n in range(40)]
    assert push(*new, ({"a": "known"}, [at(1, "kept")])).status == 204
    assert push.lines() == ["first", "kept"]
    assert push.reasons() == ["stream_limit"] * 40
    assert push.loki.limited == []


def test_too_far_behind_in_earlier_stream_is_not_reported(push: Pusher) -> None:
    push(({"a": "1"}, [at(0, "new")]))
    late = ({"a": "1"}, [at(-HOUR - 1, "late")])
    assert push(late, ({"a": "2"}, [at(0, "good")])).status == 204
    assert push.reasons() == ["too_far_behind"]


def test_idle_stream_is_not_live() -> None:
    now = [NOW_MS]
    with LokiDouble(now_ms=lambda: now[0], limits=LokiLimits(max_streams=1)) as loki:
        push = Pusher(loki, "json")
        assert push(({"a": "1"}, [at(0)])).status == 204
        assert push(({"a": "2"}, [at(0)])).status == 429
        now[0] += 30 * MINUTE
        assert push(({"a": "2"}, [at(0)])).status == 204
        assert loki.live_stream_count() == 1


def test_request_above_burst_never_passes() -> None:
    now = [NOW_MS]
    limits = LokiLimits(rate_bytes=1_000, burst_bytes=1_500)
    with LokiDouble(now_ms=lambda: now[0], limits=limits) as loki:
        push = Pusher(loki, "json")
        for _ in range(3):
            answer = push(({"a": "1"}, [at(0, "x" * 800), at(1, "y" * 800)]))
            assert answer.status == 429
            assert "ingestion rate limit exceeded" in answer.text
            now[0] += HOUR
        assert (loki.entries(), loki.rejected) == ([], [])
        assert push(({"a": "1"}, [at(0, "x" * 800)])).status == 204
        assert push(({"a": "1"}, [at(0, "y" * 800)])).status == 429
        now[0] += 1_000
        assert push(({"a": "1"}, [at(0, "y" * 800)])).status == 204


def test_stream_above_its_burst_is_refused_and_others_stored(push: Pusher) -> None:
    push.loki.limits = LokiLimits(stream_rate_bytes=1_000, stream_burst_bytes=1_500)
    large = ({"a": "large"}, [at(0, "x" * 800), at(1, "y" * 800)])
    answer = push(({"a": "small"}, [at(0, "kept")]), large)
    assert answer.status == 429
    assert "Per stream rate limit exceeded" in answer.text
    assert push.lines() == ["kept"]
    assert len(push.loki.limited) == 2


def test_time_limits_can_be_switched_off(push: Pusher) -> None:
    push.loki.limits = LokiLimits(out_of_order_ns=None, max_age_ns=None, grace_period_ns=None)
    for offset in (0, -2 * HOUR, -8 * DAY, DAY):
        assert push(({"a": "b"}, [at(offset)])).status == 204

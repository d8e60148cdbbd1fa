"""POST /cmcd: every response; batches are journalled, replayed and counted like the SDK's."""

import gzip
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Append, StorageFailure, Stored
from openqoe.core.events.cmcd_decoder import keep_records
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from tests.core.api.worker_client import Answer, ask, counter_value, make_worker
from tests.core.engine import durable_worker
from tests.core.engine.durable_worker import effects_of
from tests.support.cmcd_captures import NAMES, posts, shifted
from tests.support.event_builders import NOW, batch, event
from tests.support.handling import complete, handle
from tests.support.rig import Rig

TARGET = "api_key=K&org_id=acme&player_id=web&player_name=hlsjs"
RECORD = f'cid="film",e=ps,sid="s-1",sn=3,sta=p,ts={NOW},v=2\n'.encode()
OTHER = RECORD.replace(b"sn=3", b"sn=4")
CMCD = {"content-type": "application/cmcd"}


def post_cmcd(
    worker: Worker,
    body: bytes = RECORD,
    *,
    path: str = "/v1/cmcd",
    query: str = TARGET,
    headers: Mapping[str, str] = CMCD,
) -> Answer:
    return ask(worker, path, method="POST", query=query, headers=headers, body=body)


def accepted(worker: Worker) -> float:
    return counter_value(worker, "events_accepted_total")


# Accepted


@pytest.mark.parametrize("path", ["/cmcd", "/v1/cmcd", "/v2/cmcd", "/cmcd/", "/v2/cmcd/"])
def test_record_is_answered_204_without_body(path: str) -> None:
    worker = make_worker()
    answer = post_cmcd(worker, path=path)
    assert (answer.status, answer.body) == (204, b"")
    assert accepted(worker) == 1


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/cmcd", "Application/CMCD", "application/cmcd;charset=utf-8", "text/cmcd"),
        *("text/plain;charset=UTF-8", ""),
    ],
)
def test_content_type_is_accepted(content_type: str) -> None:
    assert post_cmcd(make_worker(), headers={"content-type": content_type}).status == 204


def test_missing_content_type_is_accepted() -> None:
    assert post_cmcd(make_worker(), headers={}).status == 204


@pytest.mark.parametrize("coding", ["gzip", ""])
def test_gzip_is_inflated(coding: str) -> None:
    headers = {**CMCD, "content-encoding": coding} if coding else CMCD
    worker = make_worker()
    assert post_cmcd(worker, gzip.compress(RECORD), headers=headers).status == 204
    assert accepted(worker) == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_plain_body_under_coding_that_a_proxy_has_removed_is_accepted(coding: str) -> None:
    worker = make_worker()
    assert post_cmcd(worker, headers={**CMCD, "content-encoding": coding}).status == 204
    assert accepted(worker) == 1


def test_unusable_record_is_counted_and_answered_204() -> None:
    worker = make_worker()
    assert post_cmcd(worker, b"e=ps,ts=%d,v=2\n" % NOW).status == 204
    assert counter_value(worker, "events_rejected_total", reason="no_sid") == 1
    assert accepted(worker) == 0


def test_unreadable_key_is_counted_by_its_name() -> None:
    worker = make_worker()
    assert post_cmcd(worker, RECORD.replace(b"sn=3", b"sn=x,br=(a)")).status == 204
    assert counter_value(worker, "fields_ignored_total", field="cmcd.br") == 1
    assert accepted(worker) == 1


# Refused


@pytest.mark.parametrize("body", [b"", b"\n", b"nonsense", b"\xff\xfe\x00", b'{"events":[]}'])
def test_unreadable_body_is_answered_400(body: bytes) -> None:
    worker = make_worker()
    answer = post_cmcd(worker, body)
    assert answer.status == 400
    assert "CMCD" in answer.json["message"]
    assert counter_value(worker, "batches_rejected_total", reason="not_cmcd") == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "application/x"])
def test_other_content_type_is_answered_415(content_type: str) -> None:
    answer = post_cmcd(make_worker(), headers={"content-type": content_type})
    assert answer.status == 415
    assert "application/cmcd" in answer.json["message"]


def test_large_body_is_answered_413() -> None:
    assert post_cmcd(make_worker(OPENQOE_MAX_BODY_BYTES="2048"), RECORD * 50).status == 413
    assert post_cmcd(make_worker(OPENQOE_MAX_EVENTS="3"), RECORD * 4).status == 413


@pytest.mark.parametrize("query", ["", "org_id=acme", "api_key=wrong"])
def test_missing_or_wrong_key_is_answered_401(query: str) -> None:
    assert post_cmcd(make_worker(API_KEY="K"), query=query).status == 401


@pytest.mark.parametrize("headers", [{"authorization": "Bearer K"}, {"x-api-key": "K"}])
def test_key_in_header_is_accepted(headers: dict[str, str]) -> None:
    answer = post_cmcd(make_worker(API_KEY="K"), query="", headers={**CMCD, **headers})
    assert answer.status == 204


def test_other_method_is_answered_405() -> None:
    assert ask(make_worker(), "/v1/cmcd").status == 405


def test_query_with_too_many_fields_is_answered_400() -> None:
    assert post_cmcd(make_worker(), query="a=1&" * 200).status == 400


def test_preflight_of_players_is_allowed() -> None:
    answer = ask(
        make_worker(),
        "/v1/cmcd",
        method="OPTIONS",
        headers={
            "origin": "https://watch.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )
    assert answer.status == 204
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "content-type" in answer.headers["Access-Control-Allow-Headers"].lower()
    assert answer.headers["Access-Control-Allow-Origin"] == "https://watch.example"


def test_answers_can_be_read_by_pages() -> None:
    headers = {**CMCD, "origin": "https://watch.example"}
    for body in (RECORD, b""):
        answer = post_cmcd(make_worker(), body, headers=headers)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://watch.example"


@given(st.binary(max_size=200), st.text(st.characters(codec="ascii"), max_size=60))
def test_any_bytes_and_query_are_answered_204_or_4xx(body: bytes, query: str) -> None:
    assert post_cmcd(make_worker(), body, query=query).status in (204, 400, 413, 415)


def test_journal_record_cannot_be_posted_as_sdk_batch() -> None:
    body = b"CMCD/2 {}\n" + RECORD
    headers = {"content-type": "application/json"}
    answer = ask(make_worker(), "/v1/events", method="POST", headers=headers, body=body)
    assert (answer.status, answer.json["message"]) == (400, "Invalid JSON in request body")


# Durability and duplicates


def journal(worker: Worker, body: bytes = RECORD, query: str = TARGET) -> Append:
    request = Request("POST", "/v1/cmcd", query, CMCD, body)
    outcome = handle(worker, request, NOW)
    assert not outcome.answers, "answered before it was in the journal"
    (append,) = effects_of(Append, outcome.effects)
    return append


def test_answer_waits_for_journal() -> None:
    worker = durable_worker.make_worker()
    append = journal(worker)
    answer = complete(worker, append.id, Stored(), NOW).response
    assert (answer.status, answer.body) == (204, b"")


def test_body_that_cannot_be_journalled_is_answered_503() -> None:
    worker = durable_worker.make_worker()
    append = journal(worker)
    answer = complete(worker, append.id, StorageFailure("full", full=True), NOW).response
    assert answer.status == 503
    assert ("Retry-After", "5") in answer.headers


def test_journal_holds_target_without_api_key() -> None:
    record = journal(durable_worker.make_worker()).record
    assert b"api_key" not in record.body
    assert b'"org_id":"acme"' in record.body


def test_replayed_record_counts_like_the_first_time() -> None:
    first, second = durable_worker.make_worker(), durable_worker.make_worker()
    append = journal(first)
    complete(first, append.id, Stored(), NOW)
    second.replay(append.record)
    assert first.snapshot() != b""
    assert accepted(first) == accepted(second) == 1


def test_repeated_body_counts_once_per_target() -> None:
    worker = make_worker()
    assert [post_cmcd(worker).status for _ in range(3)] == [204] * 3
    assert accepted(worker) == 1
    assert counter_value(worker, "batches_duplicate_total") == 2
    assert post_cmcd(worker, query="org_id=other").status == 204
    assert accepted(worker) == 2


def test_repeat_of_unjournalled_body_waits_for_its_record() -> None:
    worker = durable_worker.make_worker()
    append = journal(worker)
    repeat = handle(worker, Request("POST", "/v1/cmcd", TARGET, CMCD, RECORD), NOW)
    assert not repeat.answers
    answers = complete(worker, append.id, Stored(), NOW).answers
    assert [answer.status for answer in answers.values()] == [204, 204]


# Logs and series


def test_records_are_logged_and_counted_like_sdk_events() -> None:
    rig = Rig()
    answer = rig.handle(Request("POST", "/v1/cmcd", TARGET, CMCD, RECORD, rig.now))
    assert answer.status == 204
    rig.flush()
    assert rig.total("openqoe_events_total", event_type="cmcd_ps", org_id="acme") == 1
    (line,) = map(json.loads, rig.log_lines())
    assert line["event_type"] == "cmcd_ps"
    assert line["cmcd"]["sta"] == "p"
    ((labels, _),) = [(entry.labels, entry.line) for entry in rig.loki.entries()]
    assert dict(labels)["event_type"] == "cmcd_ps"


def test_successful_media_requests_are_counted_and_not_logged() -> None:
    rig = Rig()
    body = RECORD.replace(b"e=ps", b"e=rr,rc=200") + OTHER.replace(b"e=ps", b"e=rr,rc=404")
    rig.handle(Request("POST", "/v1/cmcd", TARGET, CMCD, body, rig.now))
    rig.flush()
    assert rig.total("openqoe_events_total", event_type="cmcd_rr") == 2
    assert [json.loads(line)["cmcd"]["rc"] for line in rig.log_lines()] == [404]


@pytest.mark.parametrize("name", NAMES)
def test_recording_is_accepted_whole(name: str) -> None:
    rig = Rig()
    ms = rig.now - 200_000 - 1_795_449_604_000
    for post in posts(name):
        request = Request("POST", post.path, TARGET, post.headers, shifted(post.body, ms), rig.now)
        assert rig.handle(request).status == 204
    rig.flush()
    assert rig.total("openqoe_events_total") > 90


def test_both_formats_share_one_worker() -> None:
    worker = make_worker()
    assert post_cmcd(worker).status == 204
    headers = {"content-type": "application/json"}
    answer = ask(worker, "/events", method="POST", headers=headers, body=batch(event()))
    assert answer.status == 202
    assert accepted(worker) == 2


# Keys, rates, privacy


def make_keyed_worker(*keys: dict[str, Any]) -> Worker:
    """Return a worker with keys of a file."""
    document = json.dumps([keyed(**one) for one in keys]).encode()
    return Worker(Config(keys_file="/k"), instance="c-0", keys=document)


def keyed(text: str, **members: Any) -> dict[str, Any]:
    digest = sha256(text.encode()).hexdigest()
    return {"name": text, "sha256": digest, "scopes": ["ingest"], **members}


def test_revoked_key_is_answered_410() -> None:
    worker = make_keyed_worker({"text": "K", "revoked": True}, {"text": "L"})
    assert post_cmcd(worker).status == 410
    assert post_cmcd(worker, query=TARGET.replace("=K", "=L")).status == 204
    assert post_cmcd(worker, query=TARGET.replace("=K", "=other")).status == 401


def test_organisation_that_key_may_not_write_is_answered_403() -> None:
    worker = make_keyed_worker({"text": "K", "orgs": ["other"]})
    assert post_cmcd(worker).status == 403
    assert counter_value(worker, "events_rejected_total", reason="org") == 1
    assert accepted(worker) == 0
    assert post_cmcd(worker, query="api_key=K&org_id=other&player_id=web").status == 204


def test_organisation_of_a_key_with_one_needs_no_field() -> None:
    keyed_worker = make_keyed_worker({"text": "K", "orgs": ["acme"]}, {"text": "L"})
    assert post_cmcd(keyed_worker, query="api_key=K&player_id=web").status == 204
    assert accepted(keyed_worker) == 1
    assert post_cmcd(keyed_worker, query="api_key=K&org_id=rival&player_id=web").status == 403
    several = make_keyed_worker({"text": "K", "orgs": ["acme", "rival"]})
    assert post_cmcd(several, query="api_key=K&player_id=web").status == 403


def test_sampled_key_leaves_out_whole_sessions() -> None:
    worker = make_keyed_worker({"text": "K", "sample": 0.5})
    for number in range(200):
        body = RECORD.replace(b"s-1", b"s-%d" % number)
        assert post_cmcd(worker, body).status == 204
    assert 60 < accepted(worker) < 140


def test_sampled_body_journals_kept_sessions_only() -> None:
    body = b"".join(RECORD.replace(b"s-1", b"s-%d" % number) for number in range(40))
    kept = keep_records(b"CMCD/2 {}\n" + body, lambda session: session == "s-7")
    assert kept == b"CMCD/2 {}\n" + RECORD.replace(b"s-1", b"s-7").strip()


def test_journal_holds_no_query_of_a_media_url() -> None:
    url = b'e=rr,url="https://c/a.m4s?token=t-1#x",nor=("b.m4s?token=t-2"),bg=?0'
    record = journal(durable_worker.make_worker(), RECORD.replace(b"e=ps", url)).record
    assert b'url="https://c/a.m4s"' in record.body
    assert b"token" not in record.body
    assert b"bg=?0" in record.body

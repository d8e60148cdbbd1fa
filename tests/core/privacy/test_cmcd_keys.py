"""Fields of CMCD records and their targets that are dropped and hashed before they are stored."""

from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.events.cmcd_target import CmcdTarget, unwrap, wrap
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.privacy.rules import PrivacyRules
from tests.support.event_builders import NOW
from tests.support.rig import Rig, cmcd_record

TARGET = CmcdTarget("acme", "web", env="prod", player_name="hlsjs", device_category="tv")
RECORD = (
    f'cid="a \\"film\\", cut",com.acme-viewer_id="anna",e=ps,ec=("1" "2"),sid="s-1",ts={NOW},v=2'
)


def rules(**settings: Any) -> PrivacyRules:
    return PrivacyRules(Config(**settings), b"secret")


def applied(record: str = RECORD, **settings: Any) -> tuple[CmcdTarget, str]:
    target, records = unwrap(rules(**settings).strip(wrap(TARGET, record.encode())))
    return target, records.decode()


def test_body_keeps_its_bytes_without_a_rule_for_it() -> None:
    body = wrap(TARGET, b"\xff\n" + RECORD.encode() + b"\r\n\n")
    assert rules().strip(body) == body


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("video.id", 'cid="a \\"film\\", cut",'),
        ("video", 'cid="a \\"film\\", cut",'),
        ("cmcd.ec", 'ec=("1" "2"),'),
        ("cmcd.cid", 'cid="a \\"film\\", cut",'),
    ],
)
def test_key_of_a_dropped_member_is_removed_and_no_other(path: str, gone: str) -> None:
    assert gone in RECORD
    assert applied(drop_fields=(path,)) == (TARGET, RECORD.replace(gone, ""))


@pytest.mark.parametrize("path", ["cmcd.e", "cmcd.ts", "cmcd.v", "cmcd.sid"])
def test_key_that_every_record_needs_is_not_dropped(path: str) -> None:
    assert applied(drop_fields=(path,))[1] == RECORD


def test_fields_of_the_target_are_dropped_and_hashed() -> None:
    target, _ = applied(drop_fields=("device", "player.name"), hash_fields=("player_id",))
    assert (target.device_category, target.player_name, target.env) == (None, None, "prod")
    assert target.player_id == rules().fields.hash("web", "acme")


@pytest.mark.parametrize("path", ["session_id", "view_id"])
def test_hash_of_session_or_view_is_that_of_the_sid(path: str) -> None:
    hashed = rules().fields.hash("s-1", "acme")
    assert f'sid="{hashed}"' in applied(hash_fields=(path,))[1]


def test_viewer_and_video_have_the_hashes_of_the_sdk_events() -> None:
    body = wrap(TARGET, RECORD.encode())
    stripped = rules(hash_fields=("viewer_id", "video.id")).strip(body)
    ((event, line),) = BatchDecoder(Config()).decode(stripped, NOW).events
    assert event.viewer_id == rules().fields.hash("anna", "acme")
    assert event.video is not None
    assert event.video.id == rules().fields.hash('a "film", cut', "acme")
    assert b"anna" not in line
    assert b"film" not in line


def test_member_that_cannot_be_read_is_removed_with_them() -> None:
    record = f'e=t,sid="s",x-viewer_id="anna"oops,ts={NOW},y-viewer_id="anna'
    assert applied(record, hash_fields=("viewer_id",))[1] == f'e=t,sid="s",ts={NOW}'


def test_hashed_cmcd_viewer_does_not_reach_the_logs() -> None:
    rig = Rig(OPENQOE_HASH_FIELDS="viewer_id", OPENQOE_HASH_KEY="k" * 16)
    rig.post_cmcd(cmcd_record(0, 'e=ps,sta=p,sn=1,com.acme-viewer_id="anna"'))
    rig.flush()
    (line,) = rig.log_lines()
    assert "anna" not in line
    assert '"viewer_id":"' in line

"""Erasure of a viewer: forms of the id, and the request to Loki."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import ErasureStep, LokiPush
from openqoe.core.engine.erasure import org_labels, stored_forms
from openqoe.core.privacy.rules import PrivacyRules
from openqoe.core.privacy.viewer_erasure import loki_deletions, viewer_forms
from tests.support.event_builders import NOW

LOKI = {"LOKI_URL": "https://loki.example/loki/api/v1/push"}


def query_of(
    viewer: str = "jane", org: str = "acme", label: str | None = "acme", **settings: str
) -> str:
    config = Config.from_environment(LOKI | settings)
    (request,) = loki_deletions(config, {}, org, (label,), (viewer,), NOW)
    assert isinstance(request, LokiPush)
    parts = urlsplit(request.url)
    assert (parts.netloc, parts.path) == ("loki.example", "/loki/api/v1/delete")
    fields = parse_qs(parts.query)
    assert (fields["start"], fields["end"]) == (["0"], [str(NOW // 1000)])
    return fields["query"][0]


def test_entries_are_selected_by_organisation_and_viewer() -> None:
    assert query_of() == '{org_id="acme"} | viewer_id="jane"'


def test_organisation_in_structured_metadata_is_a_filter() -> None:
    found = query_of(OPENQOE_LOG_LABELS="event_type,instance")
    assert found == '{event_type=~".+"} | org_id="acme" | viewer_id="jane"'


def test_line_is_searched_without_structured_metadata() -> None:
    found = query_of(OPENQOE_LOKI_STRUCTURED_METADATA="false")
    assert found == r'{org_id="acme"} |~ "\"viewer_id\"\\s*:\\s*\"jane\""'


def test_streams_of_several_organisations_are_searched_by_line() -> None:
    found = query_of(label="hash_1a")
    assert found == r'{org_id="hash_1a"} |~ "\"org_id\"\\s*:\\s*\"acme\"" | viewer_id="jane"'
    without = query_of(label=None)
    assert without == (r'{event_type=~".+"} |~ "\"org_id\"\\s*:\\s*\"acme\"" | viewer_id="jane"')


@pytest.mark.parametrize(
    ("action", "labels"),
    [("allow", ["acme", "hash_"]), ("hash", [""]), ("bucket", ["bucket_"]), ("drop", [None])],
)
def test_labels_that_streams_of_an_organisation_may_have(
    action: str, labels: list[str | None]
) -> None:
    limits = {"limits": {"org_id": {"max_cardinality": 9, "action": action, "bucket_size": 4}}}
    found = org_labels(Config.from_environment({"CARDINALITY_LIMITS": json.dumps(limits)}), "acme")
    assert len(found) == len(labels)
    for label, start in zip(found, labels, strict=True):
        assert (label is None) == (start is None)
        assert label is None or start is None or label.startswith(start)


def test_ids_of_viewers_are_unescaped_unicode() -> None:
    """Go, in which Loki is written, reads no surrogates as escapes."""
    assert query_of(viewer="😀") == '{org_id="acme"} | viewer_id="😀"'


@pytest.mark.parametrize("hostile", ['x"} or {a="b', 'x" or viewer_id!="', "x\\", "x\n| y", "`"])
def test_hostile_id_stays_inside_its_string(hostile: str) -> None:
    query = query_of(viewer=hostile)
    value = query.removeprefix('{org_id="acme"} | viewer_id=')
    assert value[0] == value[-1] == '"'
    inside = value[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inside
    assert not inside.endswith("\\")
    assert "\n" not in query


def test_destination_that_is_not_loki_has_no_delete_api() -> None:
    config = Config.from_environment({"LOKI_URL": "https://gateway.example/push"})
    (step,) = loki_deletions(config, {}, "acme", ("acme",), ("jane",), NOW)
    assert isinstance(step, ErasureStep)
    assert (step.place, step.is_complete) == ("loki", False)


def test_entries_are_deleted_in_the_default_tenant_and_that_of_the_organisation() -> None:
    config = Config.from_environment({**LOKI, "OPENQOE_TENANT": "{org_id}"})
    requests = list(
        loki_deletions(config, {"acme": "gold"}, "acme", ("acme",), ("jane", "5f2c"), NOW)
    )
    asked = [
        (one.destination, dict(one.headers)["X-Scope-OrgID"])
        for one in requests
        if isinstance(one, LokiPush)
    ]
    assert asked == [("loki", "openqoe")] * 2 + [("loki/gold", "gold")] * 2


def test_hashed_viewers_are_looked_for_in_both_forms() -> None:
    hashed = Config(hash_fields=("viewer_id",), hash_key="0123456789abcdef")
    for config, count in ((Config(), 1), (hashed, 2)):
        fields = PrivacyRules(config, b"secret").fields
        forms = viewer_forms(fields, "acme", "jane")
        assert forms[0] == "jane"
        assert len(forms) == count
    assert forms[1] == fields.hash("jane", "acme")


def test_forms_include_the_cut_id_of_rows() -> None:
    fields = PrivacyRules(Config(), b"secret").fields
    assert stored_forms(fields, "acme", "jane") == ("jane",)
    assert stored_forms(fields, "acme", "j" * 600) == ("j" * 600, "j" * 512)

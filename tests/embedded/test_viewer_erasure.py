"""Erasure of a viewer from the embedded store: whose event a line is."""

from pathlib import Path

from openqoe.embedded.viewer_erasure import erase_viewer
from tests.dashboard.filled_store import Store

LINES = (
    '{"org_id":"acme","viewer_id":"jane"}',
    '{"org_id":"rival","org_id":"acme","viewer_id":"other","viewer_id":"jane"}',
    r'{"org\u005fid":"acme","viewer\u005fid":"j\u0061ne"}',
)
OTHERS = (
    '{"org_id":"rival","viewer_id":"jane"}',
    '{"org_id":"acme","viewer_id":"jane","viewer_id":"other"}',
    '{"org_id":"acme","viewer_id":{"jane":1}}',
    "jane is no JSON",
)


def test_entries_are_a_viewers_by_the_rules_of_the_decoder(tmp_path: Path) -> None:
    """Of repeated members the last counts, and names may have escapes."""
    store = Store(tmp_path)
    for line in (*LINES, *OTHERS):
        store.entry({"event_type": "playing", "n": line})
        store.database.execute(
            "UPDATE entries SET line = ? WHERE id = (SELECT max(id) FROM entries)", (line,)
        )
    store.database.close()
    deleted, is_complete = erase_viewer(store.path, "acme", ("jane",))
    assert (deleted, is_complete) == (len(LINES), True)
    content = store.path.read_bytes()
    assert not any(line.encode() in content for line in LINES)
    assert all(line.encode() in content for line in OTHERS)

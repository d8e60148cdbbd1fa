"""Settings, metrics and files named on the deployment and migration pages exist."""

import re
from pathlib import Path

import pytest

from openqoe.core.config.declaration import find_unknown_variables
from openqoe.core.config.worker_config import Config
from tests.deploy.deploy_files import DEPLOY, ROOT

PAGES = [
    ROOT / "docs" / "deployment.md",
    ROOT / "docs" / "migrating.md",
    DEPLOY / "kubernetes" / "README.md",
]

GONE = {
    # Metrics of the Cloudflare worker
    "openqoe_heartbeat_playing_time_seconds",
    "openqoe_pause_playing_time_seconds",
    # Metrics of the Go worker, after its collector
    "openqoe_video_startup_time_milliseconds",
}

FROM_ELSEWHERE = {"OPENQOE_BIND"}
"""Variables of deploy/compose.yaml."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_named_on_pages_exist(page: Path) -> None:
    named = set(re.findall(r"\bOPENQOE_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
    assert named
    unknown = find_unknown_variables(Config, dict.fromkeys(named - FROM_ELSEWHERE, ""))
    assert list(unknown) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_metrics_named_on_pages_exist(page: Path) -> None:
    known = set(re.findall(r"openqoe_\w+", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    named = re.findall(r"\bopenqoe_[a-z_]*[a-z]\b", page.read_text(encoding="utf-8"))
    names = {
        re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name for name in named
    }
    families = {name for name in names if any(other.startswith(f"{name}_") for other in known)}
    assert names - known - families - GONE == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_file_names_on_pages_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            page_text = (file / "README.md" if file.is_dir() else file).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.*)$", page_text, re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, (target, anchor)
    for named in re.findall(r"`(deploy/[\w./-]+)`", text):
        assert (ROOT / named).exists(), named


def _anchor(heading: str) -> str:
    """The anchor of a heading on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

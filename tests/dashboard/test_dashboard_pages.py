"""The files of the page, and the charting library."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Page
from openqoe.dashboard import Pages, plotly_library
from openqoe.dashboard.pages import STATIC


class Addresses(HTMLParser):
    """The addresses in a page, and the attributes of its body."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.found: list[str] = []
        self.body: dict[str, str | None] = {}
        self.inline: list[str] = []
        self.feed(page.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [value for name, value in attrs if name in ("src", "href") and value]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        if tag == "body":
            self.body = given


def pages(folder: Path, **settings: str) -> Pages:
    return Pages(Config.from_environment({"OPENQOE_DATA_DIR": str(folder), **settings}))


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plotly_library, "find_spec", lambda name: None)
    yield


def test_index_references_only_existing_files_of_the_worker(tmp_path: Path) -> None:
    served = pages(tmp_path)
    page = Addresses(served.load("/", {}))
    assert page.inline == [], "the page's policy forbids inline scripts and styles"
    # "#…", the worker's own page, and answers, which need a store.
    elsewhere = ("#", "metrics", "dashboard/api/")
    named = [one for one in page.found if not one.startswith(elsewhere)]
    assert len(named) >= 4
    for address in (*named, page.body["data-charts"] or ""):
        parts = urlsplit(address)
        assert not parts.netloc, "nothing comes from another host"
        found = served.load("/" + parts.path, dict(parse_qsl(parts.query)))
        assert found.status == 200, address
        assert dict(found.headers)["Cache-Control"].endswith("immutable"), address


def test_modules_import_only_existing_modules() -> None:
    names = {path.name for path in STATIC.glob("*.js")}
    for path in STATIC.glob("*.js"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if " from " in line and line.startswith(("import ", "export ")):
                assert line.split('"')[1].removeprefix("./") in names, f"{path.name}: {line}"


def test_modules_never_parse_text_as_markup() -> None:
    for path in STATIC.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, f"{path.name}: {way}"


def test_charting_library_is_compressed_and_cacheable(tmp_path: Path) -> None:
    served = pages(tmp_path)
    address = urlsplit(Addresses(served.load("/", {})).body["data-charts"])
    page = served.load("/" + str(address.path), dict(parse_qsl(str(address.query))))
    headers = dict(page.headers)
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"].startswith("text/javascript")
    assert b"plotly.js v" in gzip.decompress(page.body)[:1000]
    assert len(page.body) < 2_000_000
    older = served.load("/dashboard/plotly.min.js", {"v": "older"})
    assert dict(older.headers)["Cache-Control"] == "private, no-cache"


@pytest.mark.usefixtures("without_library")
def test_index_without_charting_library_has_no_address_of_it(tmp_path: Path) -> None:
    served = pages(tmp_path)
    assert Addresses(served.load("/", {})).body["data-charts"] == ""
    assert served.load("/dashboard/plotly.min.js", {}).status == 404


def test_index_offers_sign_out_only_with_api_keys(tmp_path: Path) -> None:
    assert Addresses(pages(tmp_path).load("/", {})).body["data-keys"] == ""
    assert Addresses(pages(tmp_path, API_KEY="k").load("/", {})).body["data-keys"] == "yes"


def test_path_outside_the_static_files_is_answered_404(tmp_path: Path) -> None:
    served = pages(tmp_path)
    for path in (
        "/dashboard/../pages.py",
        "/dashboard/nothing.js",
        "/dashboard/",
        "/dashboard/api",
    ):
        assert served.load(path, {}).status == 404

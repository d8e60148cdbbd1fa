"""The programs and links on the page about embedding work."""

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "embedding.md"


def test_program_on_embedding_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    program = re.search(r"<!-- test: python -->\n```python\n(.*?)```", page, re.DOTALL)
    assert program is not None
    exec(compile(program[1], str(PAGE), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    # The answer; the flush; the last flush.
    assert lines[0] == "1 202"
    assert [line.split()[:2] for line in lines[1:3]] == [
        ["POST", "http://127.0.0.1:9090/api/v1/write"]
    ] * 2
    assert lines[3:] == ["True"]


def test_programs_on_embedding_page_are_valid_python() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for program in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        ast.parse(program)


def test_links_within_embedding_page_resolve() -> None:
    page = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors

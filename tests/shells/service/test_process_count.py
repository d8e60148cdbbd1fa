"""The number of worker processes, that the host of an application was started with."""

import pytest

from openqoe.shells.service.process_count import find_process_count


@pytest.mark.parametrize(
    ("arguments", "variables", "count"),
    [
        ("/venv/bin/gunicorn -w 4 app", {}, 4),
        ("/venv/bin/gunicorn -w4 app", {}, 4),
        ("/venv/bin/gunicorn --workers=3 app", {"WEB_CONCURRENCY": "8"}, 3),
        ("/venv/lib/uvicorn/__main__.py app --workers 2", {}, 2),
        ("/venv/bin/granian --workers 2 --workers 5 app", {}, 5),
        ("/venv/bin/gunicorn app", {"WEB_CONCURRENCY": "8"}, 8),
        ("/venv/bin/gunicorn app", {"GUNICORN_CMD_ARGS": "-w 6"}, 6),
        ("/venv/bin/gunicorn app", {"GUNICORN_CMD_ARGS": "'"}, 1),
        ("/venv/bin/gunicorn app -w", {}, 1),
        ("/venv/bin/gunicorn app -w many", {"WEB_CONCURRENCY": "0"}, 1),
        ("/usr/bin/other -w 640", {}, 1),
        ("", {}, 1),
    ],
)
def test_count_is_what_the_host_was_told(
    arguments: str, variables: dict[str, str], count: int
) -> None:
    assert find_process_count(0, arguments.split(), variables) == count


def test_setting_takes_precedence() -> None:
    assert find_process_count(7, ["gunicorn", "-w", "4"], {"WEB_CONCURRENCY": "8"}) == 7

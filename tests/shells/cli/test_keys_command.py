"""``openqoe keys``: the file of API keys."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from openqoe.core.access.api_key import Rate, Scope, key_digest
from openqoe.core.access.keys_file import parse_keys_file
from openqoe.shells.cli.keys_command import keys


def run(*arguments: object, status: int = 0, **environment: str) -> Result:
    result = CliRunner().invoke(keys, [str(one) for one in arguments], env=environment)
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_new_key_is_printed_and_only_its_hash_is_stored(file: Path) -> None:
    text = run("new", "web", "--scope", "ingest", "--org", "acme", "--file", file).output.strip()
    assert len(text) >= 32
    assert text not in file.read_text()
    (key,) = parse_keys_file(file.read_bytes())
    assert (key.digest, key.name, key.scopes) == (
        key_digest(text),
        "web",
        frozenset({Scope.INGEST}),
    )
    assert key.orgs == frozenset({"acme"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_limits_of_a_new_key_are_stored(file: Path) -> None:
    run(
        *("new", "web", "--scope", "ingest", "--scope", "read", "--org", "a", "--org", "b"),
        *("--rate", 200, "--burst", 9, "--quota", 1000, "--sample", 0.5),
        *("--file", file),
    )
    (key,) = parse_keys_file(file.read_bytes())
    assert (key.rate, key.events_per_day) == (Rate(200, 9), 1000)
    assert (key.sample, key.orgs) == (0.5, frozenset({"a", "b"}))


def test_file_keeps_its_mode_and_other_keys(file: Path) -> None:
    run("new", "one", "--scope", "read", "--file", file)
    file.chmod(0o640)
    run("new", "two", "--scope", "read", "--file", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [key.name for key in parse_keys_file(file.read_bytes())] == ["one", "two"]
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_file_keeps_its_owner(file: Path) -> None:
    run("new", "one", "--scope", "read", "--file", file)
    os.chown(file, 4321, 1234)
    run("new", "two", "--scope", "read", "--file", file)
    assert (file.stat().st_uid, file.stat().st_gid) == (4321, 1234)


def test_keys_made_at_the_same_time_are_all_in_the_file(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(new_key, file, f"key-{number}")
    assert len(parse_keys_file(file.read_bytes())) == 8


def new_key(file: Path, name: str) -> None:
    arguments = ["new", name, "--scope", "read", "--file", str(file)]
    keys.main(arguments, standalone_mode=False)


def test_revoked_key_is_marked(file: Path) -> None:
    text = run("new", "web", "--scope", "ingest", "--file", file).output.strip()
    run("check", "--file", file, OPENQOE_KEY=text)
    run("revoke", "web", "--file", file)
    assert json.loads(file.read_bytes())[0]["revoked"] is True
    assert "revoked" in run("check", "--file", file, status=1, OPENQOE_KEY=text).output


def test_list_shows_no_hashes(file: Path) -> None:
    run("new", "web", "--scope", "ingest", "--org", "acme", "--file", file)
    assert run("list", "--file", file).output == "web: ingest; organisations acme\n"
    (entry,) = json.loads(run("list", "--json", "--file", file).output)
    assert entry == {"name": "web", "scopes": ["ingest"], "orgs": ["acme"]}


def test_check_names_every_fault(file: Path) -> None:
    file.write_text('[{"name": "a"}, {"sha256": "x", "name": "b", "scopes": ["read"]}]')
    output = run("check", "--file", file, status=2).output
    assert "entry 1" in output
    assert "entry 2: sha256 is not 64 hexadecimal digits" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("new", "a b", "--scope", "read"),
        ("new", "web", "--scope", "read", "--burst", "5"),
        ("new", "web", "--scope", "write"),
        *(("new", "web", "--scope", "ingest", "--rate", rate) for rate in ("nan", "inf", "0")),
        ("new", "web", "--scope", "ingest", "--sample", "nan"),
        ("new", "web"),
        ("revoke", "unknown-key"),
    ],
)
def test_invalid_arguments_leave_the_file_alone(file: Path, arguments: tuple[str, ...]) -> None:
    run("new", "first", "--scope", "read", "--file", file)
    before = file.read_bytes()
    run(*arguments, "--file", file, status=2)
    assert file.read_bytes() == before


def test_file_of_the_setting_is_used(file: Path) -> None:
    run("new", "web", "--scope", "read", OPENQOE_KEYS_FILE=str(file))
    assert "1 keys" in run("check", OPENQOE_KEYS_FILE=str(file)).output
    assert "--file" in run("check", status=2, OPENQOE_KEYS_FILE="").output

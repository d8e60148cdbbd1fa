"""Output of all commands: help with examples, exit codes, colours, escaping."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from openqoe.core.version import VERSION
from openqoe.shells.cli import command_group
from openqoe.shells.cli.terminal_output import Painted, say
from tests.support import fork_server
from tests.support.event_builders import batch, event
from tests.support.http_double import HttpDouble, ReceivedRequest, Reply
from tests.support.services import free_port, wait_until
from tests.support.worker_process import WorkerProcess

OPENQOE = (sys.executable, "-m", "openqoe.shells")
ESCAPE = "\x1b[31m\x9b\u202e\r\n"


def run(
    *arguments: str, status: int = 0, settings: Mapping[str, str] | None = None, **more: str
) -> tuple[str, str]:
    """Output and errors."""
    environment = {**os.environ, **(settings or {}), **more}
    ended = fork_server.run((*OPENQOE, *arguments), environment)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout, ended.stderr


def on_a_terminal(*arguments: str, **settings: str) -> str:
    """The output of a command on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*OPENQOE, *arguments],
        env={**os.environ, **settings},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(leader)
    process.wait(30)
    return seen.decode()


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess({"API_KEY": "secret", "OPENQOE_EMBEDDED": "off"}) as worker:
        hostile = event("viewstart", at=int(time.time() * 1000), org_id=f"acme{ESCAPE}")
        assert worker.post(batch(hostile), Authorization="Bearer secret")[0] == 202
        yield worker


# All commands


@pytest.mark.parametrize("name", command_group.COMMANDS)
def test_command_help_has_examples(name: str) -> None:
    command = command_group.load_command(name)
    help = command.get_help(click.Context(command, info_name=name))
    assert "Examples:\n" in help
    assert f"openqoe {name}" in help
    assert "--help" in help


def test_help_lists_all_commands_and_exit_codes() -> None:
    output, _ = run("--help")
    for name in command_group.COMMANDS:
        assert f"\n  {name} " in output
    assert "Exit codes" in output.replace("\n  ", " ")


def test_unknown_command_or_option_exits_with_2() -> None:
    assert "No such command" in run("fly", status=2)[1]
    assert "No such option" in run("stats", "--fly", status=2)[1]


def test_commands_write_only_through_terminal_output() -> None:
    """It escapes text. The script of ``completion`` is an exception: it is constant."""
    folder = Path(command_group.__file__).parent
    for path in folder.glob("*.py"):
        direct = re.findall(r"click\.s?echo\(|\bprint\(|stdout\.write", path.read_text())
        assert path.name in ("terminal_output.py", "completion_command.py") or direct == [], (
            path.name
        )


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(ESCAPE, Painted(ESCAPE, "red"))
    text = "\\x1b[31m\\x9b\\u202e\\r\\n"
    assert capsys.readouterr().out == f"{text}{text}\n"


# Colours


def test_colours_are_used_on_a_terminal_only(worker: WorkerProcess) -> None:
    arguments = ("stats", "--url", worker.url, "--api-key", "secret")
    with WorkerProcess({"PROMETHEUS_URL": "http://127.0.0.1:1/api/v1/write"}) as other:
        assert "\x1b[3" in on_a_terminal("stats", "--url", other.url)
        assert "\x1b[3" not in on_a_terminal("stats", "--url", other.url, NO_COLOR="1")
    assert "\x1b" not in run(*arguments)[0]


# stats


def test_stats_prints_text_or_json(worker: WorkerProcess) -> None:
    url = ("--url", worker.url)
    output, _ = run("stats", *url, API_KEY="secret,older")
    assert f"worker {VERSION}" in output
    assert "1 views" in output
    assert re.search(r"org_id +1 +1,000 +allow", output)
    answer = json.loads(run("stats", *url, "--api-key", "secret", "--json")[0])
    assert answer["views"] == 1


class SlowWorker(HttpDouble):
    """Answers like a worker that cannot keep its flush interval."""

    def respond(self, request: ReceivedRequest) -> Reply:
        queue: dict[str, Any] = {
            "destination": "mimir",
            "state": "ok",
            "payloads": 99,
            "is_behind": True,
        }
        failing = {"tenant": "acme", "last_error": "429: rate limit"}
        queue["tenants"] = {"count": 3, "failing": [failing]}
        interval = {"configured": 1_000, "current": 4_000}
        content = {"flush_interval_ms": interval, "destinations": [queue]}
        return Reply(200, json.dumps(content).encode())


def test_stats_show_a_queue_that_grows_a_stretched_interval_and_failing_tenants() -> None:
    with SlowWorker() as slow:
        output, _ = run("stats", "--url", slow.url)
    assert "flush interval: 4 s, stretched from 1 s" in output
    assert re.search(r"mimir +behind +99", output)
    assert "tenant acme: 429: rate limit" in output


def test_stats_of_a_dimension_escapes_values(worker: WorkerProcess) -> None:
    url = ("--url", worker.url, "--api-key", "secret", "--dimension", "org_id")
    output, _ = run("stats", *url)
    assert output.splitlines() == ["org_id: 1 values", "  acme\\x1b[31m\\x9b\\u202e\\r\\n"]
    shown, _ = run("stats", *url, "--json")
    assert json.loads(shown)["values"] == [f"acme{ESCAPE}"]
    assert shown.isprintable() or set(shown) - set("\n") <= set(map(chr, range(32, 127)))
    assert "Unknown dimension" in run("stats", *url[:-1], "x", status=1)[1]


def test_stats_with_watch_repeats_until_interrupt(worker: WorkerProcess) -> None:
    process = subprocess.Popen(
        [*OPENQOE, "stats", "--url", worker.url, "--api-key", "secret", "--watch", "0.2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    heads = 0
    while heads < 2:
        heads += process.stdout.readline().startswith("worker ")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


class OtherServer(HttpDouble):
    """A server that is not a worker."""

    def respond(self, request: ReceivedRequest) -> Reply:
        return Reply(200, b"<html>\x1b[31m")


def test_stats_without_usable_answer_exits_with_an_error(worker: WorkerProcess) -> None:
    assert "answers 401 Unauthorized" in run("stats", "--url", worker.url, status=1, API_KEY="")[1]
    assert "cannot reach" in run("stats", "--url", f"http://127.0.0.1:{free_port()}", status=1)[1]
    with OtherServer() as other:
        assert "is it a worker?" in run("stats", "--url", other.url, status=1)[1]
    assert "not an http or https URL" in run("stats", "--url", "x", status=2)[1]


# version, completion, outbox


def test_version_lists_installed_packages() -> None:
    assert "aiohttp" in run("version")[0]
    answer = json.loads(run("version", "--json")[0])
    assert answer["version"] == VERSION
    assert answer["packages"]["msgspec"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    output, _ = run("completion", shell)
    assert f"_OPENQOE_COMPLETE={shell}_complete" in output.replace("export ", "")


def test_completion_script_completes_commands() -> None:
    output, _ = run(_OPENQOE_COMPLETE="bash_complete", COMP_WORDS="openqoe st", COMP_CWORD="1")
    assert output.splitlines() == ["plain,stats"]


def test_outbox_prints_json(tmp_path: Path) -> None:
    settings = {
        "OPENQOE_DATA_DIR": str(tmp_path / "data"),
        "LOKI_URL": f"http://127.0.0.1:{free_port()}/loki/api/v1/push",
        "OPENQOE_FLUSH_INTERVAL": "0.2",
        "OPENQOE_SHUTDOWN_TIMEOUT": "1",
    }
    with WorkerProcess(settings) as worker:
        assert worker.post(batch(event("viewstart", at=int(time.time() * 1000))))[0] == 202
        assert worker.stop() == 0
    output, _ = run("outbox", "--json", settings=settings)
    (slot,) = json.loads(output)["slots"]
    assert not slot["in_use"]
    assert [one["kind"] for one in slot["waiting"]] == ["logs"]


# demo


def test_demo_serves_simulated_viewers_until_interrupt(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "API_KEY": "secret", "OPENQOE_DURABILITY": "normal"}
    for name in ("OPENQOE_DATA_DIR", "PROMETHEUS_URL"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [*OPENQOE, "demo", "--port", str(port), "--viewers", "40"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        stats = ("stats", "--url", f"http://127.0.0.1:{port}", "--api-key", "secret", "--json")

        def views() -> int:
            shown = fork_server.run((*OPENQOE, *stats), os.environ)
            return int(json.loads(shown.stdout)["views"]) if shown.returncode == 0 else 0

        wait_until(lambda: views() > 2, 40, "viewers", interval=0.3)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "SIMULATED DATA" in output
    assert "Without simulated viewers: openqoe serve" in output
    assert "events in" in output
    assert (tmp_path / "openqoe-demo").is_dir()
    assert "cannot reach" in run(*stats, status=1)[1]


def test_demo_exits_with_the_reason_when_its_worker_cannot_serve(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    arguments = ("demo", "--port", str(free_port()))
    settings = {"OPENQOE_DATA_DIR": str(file), "OPENQOE_DURABILITY": "normal"}
    assert "data directory" in run(*arguments, status=2, settings=settings)[1]
    assert "OPENQOE_FLUSH_INTERVAL" in run(*arguments, status=2, OPENQOE_FLUSH_INTERVAL="x")[1]

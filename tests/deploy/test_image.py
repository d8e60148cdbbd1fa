"""deploy/Dockerfile, without a container engine: what it copies, installs, runs and asks."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch

from openqoe.core.config.declaration import unknown_variables
from openqoe.core.config.worker_config import Config
from tests.deploy.deploy_files import DEPLOY, ROOT, assert_accepts, run_tool
from tests.support.worker_process import WorkerProcess

PORT = "8787"


def instructions() -> list[tuple[str, str]]:
    """The instructions in order, continued lines joined: name and the rest."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def all_of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> list[str]:
    """What is copied from the tree."""
    copies = [shlex.split(rest) for rest in all_of("COPY") if not rest.startswith("--from")]
    return [source.removeprefix("./") for copy in copies for source in copy[:-1]]


def health_check() -> list[str]:
    (check,) = all_of("HEALTHCHECK")
    command: list[str] = json.loads(check[check.index("[") :])
    return command


def test_hadolint_finds_nothing() -> None:
    run = run_tool("hadolint", "--no-color", "Dockerfile")
    assert (run.returncode, run.stdout) == (0, "")


def test_hadolint_would_find_something() -> None:
    found = subprocess.run(
        [f"{sys.prefix}/bin/hadolint", "-"],
        input="FROM python\nRUN cd /tmp\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DL3006" in found.stdout  # an image without a tag


def test_what_is_copied_is_there_and_all_that_the_package_needs() -> None:
    sources = copied()
    assert [source for source in sources if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *project["tool"]["setuptools"]["package-dir"].values(),
    }
    assert set(sources) == needed


def test_what_is_copied_is_in_the_build_context() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for source in copied():
        ignored = False
        for pattern in patterns:  # the last one that fits decides
            if fnmatch(source, pattern.lstrip("!")):
                ignored = not pattern.startswith("!")
        assert not ignored, source


def test_the_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert any('".[${EXTRAS}]"' in rest for rest in all_of("RUN"))
    argument = next(rest for rest in all_of("ARG") if rest.startswith("EXTRAS="))
    extras = set(argument.removeprefix("EXTRAS=").split(","))
    assert extras <= set(project["project"]["optional-dependencies"])
    assert {"asyncio", "fast", "redis"} <= extras


def test_what_it_runs_is_a_command_of_ours() -> None:
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["openqoe"]
    assert_accepts(json.loads(all_of("CMD")[0]))


def test_it_listens_on_the_port_that_it_tells_and_keeps_its_data_in_its_volume() -> None:
    assert all_of("EXPOSE") == [PORT]
    assert f", {PORT}," in health_check()[-1]
    environment = dict(pair.split("=", 1) for pair in shlex.split(all_of("ENV")[0]))
    assert all_of("VOLUME") == [environment["OPENQOE_DATA_DIR"]]
    assert list(unknown_variables(Config, environment)) == []


def test_it_does_not_run_as_root_and_every_base_has_a_version() -> None:
    assert all_of("USER") == ["10001:10001"]
    bases = {base.split(" ")[0] for base in all_of("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())


def test_the_health_check_tells_a_worker_that_lives_from_none() -> None:
    program, *arguments = health_check()
    assert program == "python"
    script = arguments[-1]

    def healthy(port: int) -> bool:
        asked = [sys.executable, *arguments[:-1], script.replace(PORT, str(port))]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    with WorkerProcess() as worker:
        assert healthy(worker.port)
        worker.stop()
        assert not healthy(worker.port)

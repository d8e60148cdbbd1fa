"""deploy/Dockerfile, checked without a container engine: files, extras, command, health check."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch

from openqoe.core.config.declaration import find_unknown_variables
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
    """The paths that are copied from the tree."""
    copies = [shlex.split(rest) for rest in all_of("COPY") if not rest.startswith("--from")]
    return [source.removeprefix("./") for copy in copies for source in copy[:-1]]


def health_check() -> list[str]:
    (check,) = all_of("HEALTHCHECK")
    command: list[str] = json.loads(check[check.index("[") :])
    return command


def test_hadolint_accepts_dockerfile() -> None:
    run = run_tool("hadolint", "--no-color", "Dockerfile")
    assert (run.returncode, run.stdout) == (0, "")


def test_hadolint_reports_known_bad_dockerfile() -> None:
    found = subprocess.run(
        [f"{sys.prefix}/bin/hadolint", "-"],
        input="FROM python\nRUN cd /tmp\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DL3006" in found.stdout  # an image without a tag


def test_copied_files_exist_and_cover_package() -> None:
    sources = copied()
    assert [source for source in sources if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (package,) = project["tool"]["setuptools"]["package-dir"].values()
    links = [path for path in (ROOT / package / "openqoe").iterdir() if path.is_symlink()]
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        package,
        *(link.resolve().relative_to(ROOT).as_posix() for link in links),
    }
    assert set(sources) == needed


def test_copied_files_are_in_build_context() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for source in copied():
        ignored = False
        for pattern in patterns:  # the last match decides
            if fnmatch(source, pattern.lstrip("!")):
                ignored = not pattern.startswith("!")
        assert not ignored, source


def test_installed_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert any('".[${EXTRAS}]"' in rest for rest in all_of("RUN"))
    argument = next(rest for rest in all_of("ARG") if rest.startswith("EXTRAS="))
    extras = set(argument.removeprefix("EXTRAS=").split(","))
    assert extras <= set(project["project"]["optional-dependencies"])
    assert {"asyncio", "fast", "redis"} <= extras


def test_image_runs_openqoe_command() -> None:
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["openqoe"]
    assert_accepts(json.loads(all_of("CMD")[0]))


def test_image_exposes_its_port_and_stores_data_in_volume() -> None:
    assert all_of("EXPOSE") == [PORT]
    assert f", {PORT}," in health_check()[-1]
    environment = dict(pair.split("=", 1) for pair in shlex.split(all_of("ENV")[0]))
    assert all_of("VOLUME") == [environment["OPENQOE_DATA_DIR"]]
    assert list(find_unknown_variables(Config, environment)) == []


def test_image_runs_unprivileged_on_pinned_bases() -> None:
    assert all_of("USER") == ["10001:10001"]
    bases = {base.split(" ")[0] for base in all_of("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())


def test_health_check_fails_without_worker() -> None:
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

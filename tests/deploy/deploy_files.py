"""Reads the files of deploy/ and checks them against the worker's settings and commands."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from openqoe.core.config.declaration import find_unknown_variables
from openqoe.core.config.worker_config import Config
from openqoe.shells.cli import command_group

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def load_yaml(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def run_tool(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the `dev` extra in deploy/, with a minimal environment."""
    return subprocess.run(
        [str(Path(sys.executable).parent / name), *arguments],
        cwd=DEPLOY,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def load_config(variables: Mapping[str, str]) -> Config:
    """What the worker makes of variables, every one of which it has to know."""
    assert list(find_unknown_variables(Config, variables)) == []
    return Config.from_environment(variables)


def assert_accepts(arguments: Sequence[str]) -> None:
    """Check that the `openqoe` command accepts these arguments; click raises otherwise."""
    name, *options = arguments
    command = command_group.load_command(name)
    command.make_context(name, list(options))

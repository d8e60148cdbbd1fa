"""``openqoe version``: the versions that are installed."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Final

import click

from openqoe.core.version import VERSION

from .command_options import json_option
from .terminal_output import Painted, say, say_json

PACKAGES: Final[Mapping[str, str]] = {
    "aiohttp": "asyncio",
    "trio": "trio",
    "httpx": "shell",
    "httptools": "fast",
    "uvloop": "fast",
    "redis": "redis",
    "h11": "",
    "msgspec": "",
    "protobuf": "shell",
    "python-snappy": "",
}
"""The packages that matter, and the extra that installs each; "" for the base install."""


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the versions of the worker, of Python and of the packages that matter.

    \b
    Examples:
      openqoe version
      openqoe version --json
    """
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    found = {name: _installed(name) for name in PACKAGES}
    if as_json:
        say_json({"version": VERSION, "python": python, "system": system, "packages": found})
        return
    say(f"openqoe-worker {VERSION}")
    say(f"{python} on {system}")
    for name, installed in found.items():
        if installed is not None:
            say(f"  {name:<14} {installed}")
        else:
            hint = f"not installed: pip install 'openqoe-worker[{PACKAGES[name]}]'"
            say(f"  {name:<14} ", Painted(hint, "bright_black"))


def _installed(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None

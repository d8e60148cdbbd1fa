"""The package holds all of the tree's modules, and nothing else."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_folder_with_modules_is_listed_as_a_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"]) - {"openqoe"}
    folders = {path.parent for top in ("core", "shells") for path in (ROOT / top).rglob("*.py")}
    found = {"openqoe." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert listed == found


def test_the_package_says_that_it_is_typed() -> None:
    for folder in ("package", "core", "shells"):
        assert (ROOT / folder / "py.typed").exists()

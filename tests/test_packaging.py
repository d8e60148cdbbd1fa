"""The package contains all modules of the tree, and nothing else."""

from importlib.metadata import files
from pathlib import Path

import openqoe

ROOT = Path(__file__).parent.parent
PACKAGE = Path(openqoe.__file__).parent
TOP_FOLDERS = ("core", "shells", "embedded", "dashboard", "simulator")


def modules(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


def test_package_holds_every_module_of_the_top_folders() -> None:
    for top in TOP_FOLDERS:
        assert modules(PACKAGE / top) == modules(ROOT / top)


def test_package_holds_no_other_folder() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found == set(TOP_FOLDERS)


def test_every_folder_with_modules_is_a_package() -> None:
    for top in TOP_FOLDERS:
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path.parent


def test_package_contains_py_typed_and_dashboard_files() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "dashboard/static/index.html").exists()
    assert files("openqoe-worker") is not None

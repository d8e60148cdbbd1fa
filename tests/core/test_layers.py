"""Layers of the core: each imports only layers before it, so imports have no cycle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import openqoe.core

CORE = Path(openqoe.core.__file__).parent

LAYERS = (
    *("version", "primitives", "kv", "config", "http", "effects", "access", "events", "privacy"),
    *("metrics", "governance", "wire", "qoe", "delivery", "sinks", "cluster"),
    *("api", "engine", "worker", "__init__"),
)
"""Folders and top-level modules of the core, lowest first."""


def layer_of(module: Path) -> str:
    parts = module.relative_to(CORE).with_suffix("").parts
    return parts[0]


def imported_layers(module: Path, source: str) -> Iterator[str]:
    """Yield the layers of a module's relative imports."""
    folder = module.relative_to(CORE).parent.parts
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = folder[: len(folder) - node.level + 1]
        target = (*base, *(node.module or "").split("."))
        names = [part for part in target if part]
        yield from names[:1] or (alias.name for alias in node.names)


def upward_imports(module: Path, source: str) -> list[str]:
    """Return the imports of layers that are not before the module's own."""
    own = LAYERS.index(layer_of(module))
    return [
        f"{layer_of(module)} -> {layer}"
        for layer in imported_layers(module, source)
        if LAYERS.index(layer) > own
    ]


def test_every_folder_and_top_level_module_has_a_layer() -> None:
    found = {layer_of(module) for module in CORE.rglob("*.py")}
    assert found == set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_imports_only_layers_before_it(layer: str) -> None:
    found = []
    for module in sorted(CORE.rglob("*.py")):
        if layer_of(module) == layer:
            found += upward_imports(module, module.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("metrics/registry.py", "from ..delivery.payload import Payload"),
        ("api/reports.py", "from ..engine.ingest import Ingest"),
        ("kv.py", "from .effects import Effect"),
        ("kv.py", "from . import worker"),
        ("metrics/registry.py", "def f():\n    from .. import worker"),
    ],
)
def test_upward_import_is_found(module: str, source: str) -> None:
    assert len(upward_imports(CORE / module, source)) == 1

"""What needs no torch does not import it: manifests can be read where nothing heavy is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import model_store

MODULES = sorted(Path(model_store.__file__).parent.glob("*.py"))

MAY_IMPORT = {
    "loader": {"torch", "transformers"},
    "weights_reader": {"torch", "safetensors"},
    "convert": {"torch", "safetensors"},
    "adapter_weights": {"torch"},
    "download": {"huggingface_hub"},
}
"""What a module may import beside the standard library and this package."""


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


HEAVY = ("loader", "adapter_weights", "weights_reader", "convert", "add", "__init__")
"""Modules that touch tensors."""


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_a_module_imports_nothing_beyond_what_it_may(path: Path) -> None:
    foreign = set(imported_packages(path)) - set(sys.stdlib_module_names) - {"model_store"}

    assert foreign == MAY_IMPORT.get(path.stem, set())


def test_everything_but_loading_runs_without_torch_and_the_hub_client() -> None:
    light = [path.stem for path in MODULES if path.stem not in HEAVY]
    heavy = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "pydantic", "numpy")
    code = "\n".join(
        [f"import model_store.{module}" for module in light]
        + ["import sys", f"print(*sorted({set(heavy)!r} & set(sys.modules)))"]
    )

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert loaded.strip() == ""

"""What needs no torch does not import it: manifests can be read where nothing heavy is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = (
    "manifest",
    "manifest_toml",
    "manifest_rules",
    "catalogue",
    "integrity",
    "stamp",
    "families",
    "guess",
    "sources",
    "download",
    "weights_layout",
    "weights_match",
)
HEAVY = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "pydantic", "numpy", "service")


def loaded_after(code: str, watched: tuple[str, ...]) -> str:
    """Which of the watched packages a fresh interpreter has loaded after some code."""
    report = f"{code}; import sys; print(*sorted(set({watched!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_the_standard_library_alone(module: str) -> None:
    assert loaded_after(f"import model_store.{module}", HEAVY) == ""


def test_the_loader_imports_no_web_stack_and_no_pydantic() -> None:
    code = "import model_store.loader"

    assert loaded_after(code, ("fastapi", "starlette", "pydantic", "uvicorn", "service", "torch")) == "torch"

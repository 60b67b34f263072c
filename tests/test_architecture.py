"""Who may know whom, and how large things may grow: kept here, not wished for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("service", "model_store", "training", "reward_client/src/reward_client")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
LONGER_FILES: dict[str, str] = {}
"""Files over 300 lines, each with its reason."""

LIGHT = frozenset(sys.stdlib_module_names)

ROOM_MAY_IMPORT: dict[str, frozenset[str]] = {
    "service/types.py": frozenset({"service.errors"}),
    "service/frame.py": frozenset(),
    "service/errors.py": frozenset(),
    "service/scheduling": frozenset(
        {"service.scheduling", "service.ageing", "service.types", "service.frame", "service.errors"}
    ),
    "service/engine": frozenset({"service.engine", "service.types", "service.frame", "service.errors"}),
    "service/reward_head.py": frozenset({"service.engine", "model_store"}),
    "service/dispatch": frozenset(
        {
            "service.dispatch",
            "service.scheduling",
            "service.engine.protocol",
            "service.types",
            "service.frame",
            "service.errors",
        }
    ),
    "service/tokenization": frozenset(
        {"service.tokenization", "service.ageing", "service.types", "service.errors", "model_store"}
    ),
    "service/scoring": frozenset(
        {
            "service.scoring",
            "service.dispatch",
            "service.scheduling.admission",
            "service.tokenization",
            "service.types",
            "service.errors",
        }
    ),
    "service/observability": frozenset({"service.observability", "service.types", "service.errors"}),
    "service/api": frozenset(
        {
            "service.api",
            "service.scoring",
            "service.observability",
            "service.settings",
            "service.types",
            "service.errors",
        }
    ),
    "model_store": frozenset({"model_store"}),
    "training": frozenset({"training", "model_store", "service.types"}),
    "reward_client/src/reward_client": frozenset({"reward_client"}),
}
"""What each room may import of ours. Rooms not named here (the composition root, the command line) may import all."""

ONLY_IN: dict[str, tuple[str, ...]] = {
    "torch": ("service/engine", "service/reward_head.py", "model_store", "training"),
    "transformers": ("service/engine", "service/tokenization/fast_tokenizer.py", "model_store", "training"),
    "tokenizers": ("service/tokenization/fast_tokenizer.py", "training"),
    "fastapi": ("service/api",),
    "starlette": ("service/api",),
    "prometheus_client": ("service/observability/prometheus.py",),
    "httpx": ("reward_client/src/reward_client", "service/cli", "service/jobs"),
    "asyncio": (
        "service/dispatch",
        "service/scoring",
        "service/tokenization",
        "service/api",
        "service/model_runtime.py",
        "service/cli",
        "service/jobs",
        "reward_client/src/reward_client/_async",
    ),
}
"""Libraries that only these places may import."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[str]:
    """Full names of everything a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def is_under(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(allowed + ".")


@pytest.mark.parametrize("room", ROOM_MAY_IMPORT)
def test_a_room_knows_only_those_it_may_know(room):
    files = [path for path in SOURCES if name_of(path) == room or name_of(path).startswith(room + "/")]
    assert files, f"{room} is gone; take it out of the table"
    strangers = {
        f"{name_of(path)} imports {module}"
        for path in files
        for module in imports_of(path)
        if module.split(".")[0] in {"service", "model_store", "training", "reward_client"}
        and not any(is_under(module, allowed) for allowed in ROOM_MAY_IMPORT[room])
    }

    assert strangers == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_may_be(library):
    elsewhere = {
        name_of(path)
        for path in SOURCES
        if any(is_under(module, library) for module in imports_of(path))
        and not any(name_of(path).startswith(place) for place in ONLY_IN[library])
    }

    assert elsewhere == set()


def test_the_client_imports_httpx_in_its_two_drivers_only():
    files = {path.name for path in SOURCES if "reward_client" in name_of(path) and "httpx" in set(imports_of(path))}

    assert files == {"_sync.py", "_async.py"}


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("service.scheduling.batcher", {"torch", "asyncio", "fastapi", "pydantic"}),
        ("service.scoring.protocol", {"torch", "fastapi"}),
        ("service.cli", {"torch", "transformers", "fastapi"}),
        ("model_store.catalogue", {"torch", "transformers", "pydantic"}),
        ("service.engine.torch_engine", {"fastapi", "pydantic", "starlette", "uvicorn", "prometheus_client"}),
        ("service.reward_head", {"fastapi", "pydantic", "starlette", "uvicorn", "prometheus_client"}),
        ("model_store.loader", {"fastapi", "pydantic_settings", "starlette", "uvicorn"}),
        ("reward_client", {"torch", "transformers", "fastapi", "service", "pydantic"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_importing_one_thing_does_not_load_another(imported, absent):
    path = f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'reward_client/src')!r}]"
    script = f"import sys; {path}; import {imported}; print(*sorted({absent!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert loaded == []


def test_no_file_grows_long_without_a_reason():
    long = {name_of(path) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE_LINES}

    assert long == set(LONGER_FILES)


def test_no_function_grows_long():
    long = {
        f"{name_of(path)}:{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    }

    assert long == set()


def test_every_module_says_what_it_is_for():
    silent = {
        name_of(path)
        for path in SOURCES
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    }

    assert silent == set()

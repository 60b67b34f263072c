"""What the package promises as a whole: two equal clients, few imports, old Pythons, examples that run."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import reward_client
from reward_client import AsyncClient, Client, _async_client, _client
from tests.client.both import QUICK, transport_to
from tests.client.scripted_server import ScriptedServer, length_score

SOURCE = Path(reward_client.__file__).parent
PROJECT = Path(__file__).parents[2] / "reward_client"
FILES = sorted(SOURCE.rglob("*.py"))


def public_methods(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert public_methods(Client) == public_methods(AsyncClient)


@pytest.mark.parametrize("name", sorted(public_methods(Client) | {"__init__"}))
def test_both_clients_take_the_same_arguments(name: str) -> None:
    blocking, awaited = (inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient))

    assert list(blocking) == list(awaited)
    for argument, other in zip(blocking.values(), awaited.values(), strict=True):
        assert (argument.kind, argument.default) == (other.kind, other.default)
        # An asynchronous input is the one thing that only the asynchronous stream takes.
        assert str(argument.annotation) == str(other.annotation).removesuffix(" | AsyncIterable[PairLike]")


def test_everything_in_all_is_there_and_everything_public_is_in_all() -> None:
    imported = {name for name, value in vars(reward_client).items() if inspect.isclass(value)}

    assert imported | {"__version__"} == set(reward_client.__all__)


def test_importing_the_client_loads_httpx_and_the_standard_library_only() -> None:
    heavy = {"torch", "transformers", "fastapi", "starlette", "pydantic", "numpy", "service", "model_store"}
    path = f"sys.path.insert(0, {str(SOURCE.parent)!r})"
    code = f"import sys; {path}; import reward_client, reward_client.adapters; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "httpx" in done.stdout.split()
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_drivers_import_httpx_and_nobody_anything_foreign(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | {"reward_client"}
    if path.parent == SOURCE and path.name in ("_sync.py", "_async.py"):
        allowed.add("httpx")
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])

    assert imported <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_source_is_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

    assert project["version"] == reward_client.__version__
    assert (SOURCE / "py.typed").exists()


@pytest.mark.parametrize("module", [_client, _async_client], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_run(module: Any) -> None:
    results = doctest.testmod(module, extraglobs=example_names(), optionflags=doctest.ELLIPSIS)

    assert results.failed == 0
    assert results.attempted > 0


def test_the_examples_of_the_readme_run() -> None:
    path = str(PROJECT / "README.md")
    results = doctest.testfile(path, module_relative=False, globs=example_names(), optionflags=doctest.ELLIPSIS)

    assert results.failed == 0
    assert results.attempted > 10


def example_names() -> dict[str, Any]:
    """What an example may use: the clients with a server behind them that scores by length."""
    transport = transport_to(ScriptedServer(score=length_score))
    return {
        "Client": partial(Client, transport=transport, **QUICK),
        "AsyncClient": partial(AsyncClient, transport=transport, **QUICK),
        "AsyncIterator": AsyncIterator,
        "asyncio": asyncio,
        **{name: getattr(reward_client, name) for name in ("Pair", "PairFailed", "RewardServerError")},
    }

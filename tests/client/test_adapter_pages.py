"""The examples of docs/trainers.md do what they say."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from reward_client import Client, adapters
from tests.client.both import QUICK, transport_to
from tests.client.scripted_server import ScriptedServer

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"
NAMES = ("trl_reward", "verl_compute_score", "openrlhf_reward_func", "areal_reward")


def length(pair: Mapping[str, Any]) -> float:
    """Letters of the response, whichever route it came by."""
    return float(len(pair["response"] if "response" in pair else pair["query"].removeprefix(pair["prompt"])))


def test_the_examples_of_the_page_run() -> None:
    given = {"transport": transport_to(ScriptedServer(score=length)), **QUICK, "retry_for_s": 20.0}
    names = {name: with_transport(getattr(adapters, name), given) for name in NAMES}
    known = {**names, "asyncio": asyncio, "best_of_n": adapters.best_of_n, "Client": partial(Client, **given)}
    results = doctest.testfile(str(PAGE), module_relative=False, globs=known)

    assert results.failed == 0
    assert results.attempted > 12


def with_transport(make: Any, given: Mapping[str, Any]) -> Any:
    """The same function, with a server behind it; what an example says itself goes first."""
    return lambda url, **options: make(url, **{**given, **options})


def test_the_page_has_a_section_for_every_adapter() -> None:
    text = PAGE.read_text(encoding="utf-8")
    functions = [name for name in adapters.__all__ if name[0].islower()]

    assert [name for name in functions if f"`{name}" not in text] == []

"""Requests come in a few at a turn, in order; probes walk past."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.api.turnstile import Turnstile


class Inside:
    """An app that notes who came in, and at which turn of the loop."""

    def __init__(self) -> None:
        self.turn = 0
        self.came: list[tuple[str, int]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.came.append((scope["path"], self.turn))


def scope_of(path: str) -> dict[str, Any]:
    return {"type": "http", "path": path}


async def turns(inside: Inside, number: int) -> None:
    for _ in range(number):
        inside.turn += 1
        await asyncio.sleep(0)


async def test_a_burst_is_let_in_a_few_at_a_turn_and_in_order() -> None:
    inside = Inside()
    turnstile = Turnstile(inside, a_turn=3)
    calls = [asyncio.create_task(turnstile(scope_of(f"/{n}"), None, None)) for n in range(20)]  # type: ignore[arg-type]
    await turns(inside, 30)

    assert [path for path, _ in inside.came] == [f"/{n}" for n in range(20)]
    per_turn = [sum(at == turn for _, at in inside.came) for turn in range(31)]
    assert max(per_turn) == 3
    assert all(call.done() for call in calls)


async def test_a_probe_does_not_wait_behind_a_burst() -> None:
    inside = Inside()
    turnstile = Turnstile(inside, a_turn=1)
    calls = [asyncio.create_task(turnstile(scope_of(f"/{n}"), None, None)) for n in range(50)]  # type: ignore[arg-type]
    calls.append(asyncio.create_task(turnstile(scope_of("/livez"), None, None)))  # type: ignore[arg-type]
    await turns(inside, 3)

    assert "/livez" in [path for path, _ in inside.came]
    assert len(inside.came) < 10
    await asyncio.gather(*calls)


async def test_who_leaves_while_waiting_takes_nobodys_turn() -> None:
    inside = Inside()
    turnstile = Turnstile(inside, a_turn=1)
    calls = [asyncio.create_task(turnstile(scope_of(f"/{n}"), None, None)) for n in range(5)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    calls[2].cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert [path for path, _ in inside.came] == ["/0", "/1", "/3", "/4"]
    assert isinstance(ended[2], asyncio.CancelledError)


async def test_an_app_at_rest_lets_in_at_once() -> None:
    inside = Inside()
    turnstile = Turnstile(inside, a_turn=2)
    for number in range(5):
        await turnstile(scope_of(f"/{number}"), None, None)  # type: ignore[arg-type]
        await turns(inside, 2)

    assert [path for path, _ in inside.came] == [f"/{n}" for n in range(5)]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_kinds_of_connections_pass(kind: str) -> None:
    inside = Inside()
    await Turnstile(inside, a_turn=0)({"type": kind, "path": "/"}, None, None)  # type: ignore[arg-type]

    assert inside.came == [("/", 0)]

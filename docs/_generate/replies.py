"""Executes the commands of the pages against the app, in this process, and shows the replies.

The app is the real one; the model behind it is the tests' fake, which reads one token a byte, so that the pages are
the same on every machine. A scene says what state the server is in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Final

import httpx
from fastapi import FastAPI

from docs._generate.curl import BASE_URL, Command, command_above
from docs._generate.page import Block, PageError, fenced
from service.api.app import create_app
from service.errors import Overloaded
from service.scheduling.admission import Admission, QueueLimits
from service.settings import Settings
from tests.fakes import FakeServedModel, building

WIDTH: Final = 110
"""Characters of a line of JSON before it is broken."""


def reply(block: Block) -> str:
    """What the command above answers; the block's argument names the scene."""
    scene = block.arguments[0] if block.arguments else "plain"
    if scene not in SCENES:
        raise PageError(f"line {block.line}: no scene {scene!r}; allowed: {', '.join(SCENES)}")
    command = command_above(block)
    return show(asyncio.run(execute(command, SCENES[scene]())), command)


async def execute(command: Command, app: FastAPI) -> httpx.Response:
    """Sends one command to an app that was started for it."""
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        for _ in range(10):
            await asyncio.sleep(0)  # lets start-up come as far as it can
        return await client.request(command.method, command.target, headers=list(command.headers), content=command.body)


def show(response: httpx.Response, command: Command) -> str:
    """The reply as a fenced block: as it came where it is lines, else laid out as jq would."""
    if response.headers["content-type"] != "application/json":
        return fenced("json", response.text.rstrip("\n"))
    picked: Any = reduce(lambda value, name: value[name], command.path, response.json())
    if not command.shows_head:
        return fenced("json", layout(picked))
    status = f"HTTP/1.1 {response.status_code}"  # without its phrase, which changes with Python's version
    head = [f"{name}: {value}" for name, value in response.headers.items()]
    return fenced("http", "\n".join([status, *head, "", layout(picked)]))


def layout(value: object, indent: int = 0, taken: int = 0) -> str:
    """JSON with a line for each member of what does not fit on one line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + taken <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    inner = indent + 2
    if isinstance(value, dict):
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        members = [
            name + layout(item, inner, inner + len(name) + 1) for name, item in zip(names, value.values(), strict=True)
        ]
    else:
        members = [layout(item, inner, inner + 1) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(" " * inner + member for member in members)
    return f"{opening}\n{body}\n{' ' * indent}{closing}"


def _plain() -> FastAPI:
    return create_app(Settings(), building(FakeServedModel()))


def _with_key() -> FastAPI:
    return create_app(Settings(api_keys=("KEY",)), building(FakeServedModel()))


def _few_pairs() -> FastAPI:
    return create_app(Settings(max_pairs_per_request=2), building(FakeServedModel()))


def _loading() -> FastAPI:
    return create_app(Settings(), building(FakeServedModel(), gate=asyncio.Event()))


def _overloaded() -> FastAPI:
    """A server whose queue is full: the real admission says so, with a drain rate of 50,000 tokens a second."""
    admission = Admission(QueueLimits(max_tokens=200_000, max_pairs=2_000))
    for now_s in (0.0, 1_000.0):
        admission.drain.note(50_000_000, now_s)
    admission.admit(num_pairs=800, num_tokens=199_990)
    refusal = None
    try:
        admission.admit(num_pairs=1, num_tokens=44)
    except Overloaded as error:
        refusal = error
    return create_app(Settings(), building(FakeServedModel(refusal=refusal)))


SCENES: Final[Mapping[str, Callable[[], FastAPI]]] = {
    "plain": _plain,
    "with-key": _with_key,
    "few-pairs": _few_pairs,
    "loading": _loading,
    "overloaded": _overloaded,
}
"""States of the server that the pages show."""

"""The short way and FastAPI's: every route that has both answers the same on either, byte for byte."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from service.api import short_way
from service.api.app import create_app
from service.api.dialects import native_examples
from tests.api.asgi import settings
from tests.api.conftest import serving
from tests.fakes import FakeServedModel, building

QUERY, TEXT = "p", "r"
CHAT = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
GOOD: dict[str, list[Any]] = {
    "/v1/score": [example["value"] for example in native_examples.SCORE_BODIES.values()],
    "/v1/rank": [example["value"] for example in native_examples.RANK_BODIES.values()],
    "/v1/tokenize": [example["value"] for example in native_examples.TOKENIZE_BODIES.values()],
    "/get_reward": [{"query": ["pr"], "prompts": ["p"]}, {"query": [], "prompts": []}],
    "/slime": [{"prompt": "p", "response": "r"}, {"prompt": CHAT[:1], "response": "r", "label": 3}],
    "/v1/classify": [{"input": "pr"}],
    "/classify": [{"input": "pr"}],
    "/rerank": [{"query": "p", "texts": ["r", "s"]}, {"query": "p", "documents": ["r", "s"]}],
    "/v1/rerank": [{"query": "p", "documents": ["r", "s"]}],
    "/v2/rerank": [{"query": "p", "documents": ["r", "s"], "top_n": 1}],
    "/pooling": [{"input": ["pr"]}],
    "/score": [{"text_1": "p", "text_2": ["r", "s"]}],
    "/v1/embeddings": [{"input": ["pr"]}],
    "/predict": [{"inputs": ["p", "r"]}, {"inputs": [["p", "r"]]}],
    "/infinity/classify": [{"input": ["pr"], "model": "demo"}],
    "/infinity/rerank": [{"query": "p", "documents": ["r"], "model": "demo"}],
    "/v1/chat/completions": [{"messages": CHAT, "model": "demo"}],
}
BAD: list[Any] = [{}, {"model": 1}, {"pairs": 1}, {"query": 1}, {"input": {}}, {"documents": 3}, [], [1], "text", None]
BROKEN = [b"", b"{", b"\xff", b'{"a": NaN}']


def paths() -> list[str]:
    app = create_app(settings(), building(FakeServedModel()))
    return sorted({path for _, path in short_way.short_routes(app.router.routes)})


def test_the_busiest_routes_have_a_short_way_and_each_has_bodies_here() -> None:
    assert {"/v1/score", "/v1/rank", "/get_reward", "/slime", "/classify", "/rerank", "/predict"} <= set(paths())
    assert set(paths()) <= GOOD.keys() | {"/", "/invocations"}


@pytest.mark.parametrize("path", paths())
async def test_both_ways_answer_alike(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [json.dumps(body).encode() for body in [*GOOD.get(path, []), *BAD]] + BROKEN
    targets = [path, f"{path}?as=dict", f"{path}?as=nothing", f"{path}?x=1"]
    short, long = [], []
    for replies in (short, long):
        if replies is long:
            monkeypatch.setattr(short_way, "short_routes", lambda routes: {})
        async with serving(create_app(settings(), building(FakeServedModel()))) as client:
            for target in targets:
                for body in bodies:
                    reply = await client.post(target, content=body, headers={"X-Request-Id": "same"})
                    replies.append((target, body, reply.status_code, *_said(reply)))

    assert short == long
    good = [reply for reply in short if reply[0] == path and reply[1] in bodies[: len(GOOD.get(path, []))]]
    assert all(status == 200 for _, _, status, *_ in good)


def _said(reply: httpx.Response) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and headers, without what is another for each reply: an id of its own and the time."""
    body = re.sub(rb'"(id|created)":("[^"]*"|[0-9]+)', b"", reply.content)
    return body, sorted((name, value) for name, value in reply.headers.items() if name != "content-length")


async def test_a_body_in_pieces_is_put_together() -> None:
    body = json.dumps(GOOD["/v1/score"][0]).encode()

    async def pieces() -> Any:
        for place in range(0, len(body), 7):
            yield body[place : place + 7]

    async with serving(create_app(settings(), building(FakeServedModel()))) as client:
        whole = await client.post("/v1/score", content=body)
        in_pieces = await client.post("/v1/score", content=pieces())

    assert whole.status_code == 200
    assert in_pieces.json()["results"] == whole.json()["results"]

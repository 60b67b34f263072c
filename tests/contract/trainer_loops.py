"""The exchanges and retry loops of trainers that have no light package, told anew from their sources.

Each takes a client and a `pause`, so that nobody waits. What a loop gives up with is `GaveUp`.

* verl: verl-project/verl 19c3bef, `verl/experimental/reward_loop/reward_loop.py`; older body: volcengine/verl b178a3c
* slime: THUDM/slime 0b420f1, `slime/rollout/rm_hub/__init__.py`
* OpenRLHF: v0.11 (04655bc), `openrlhf/utils/agent.py`; before v0.10: `openrlhf/utils/remote_rm_utils.py`
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

Pause = Callable[[float], Awaitable[None]]

VERL_TRIES = 16
SLIME_TRIES = 10
OPENRLHF_TRIES = 5


class GaveUp(Exception):
    """The trainer stops trying: what it would raise, with the last status it saw."""


async def verl_vllm(client: httpx.AsyncClient, text: str, pause: Pause, key: str = "use_activation") -> Any:
    """The reward of one text by a vLLM-shaped server; older verl says `activation`."""
    reply = await _verl_post(client, "/classify", {"model": "/models/rm", "input": text, key: False}, pause)
    return reply["data"][-1]["probs"][-1]


async def verl_sglang(client: httpx.AsyncClient, text: str, pause: Pause) -> Any:
    """The reward of one text by an SGLang-shaped server."""
    reply = await _verl_post(client, "/v1/embeddings", {"model": "/models/rm", "input": text}, pause)
    return reply["data"][-1]["embedding"][-1]


async def slime(client: httpx.AsyncClient, prompt: object, response: str, pause: Pause, url: str = "/slime") -> Any:
    """The reply itself is the reward; whatever fails is tried again."""
    for attempt in range(SLIME_TRIES):
        reply = await client.post(url, json={"prompt": prompt, "response": response, "label": None})
        if reply.is_success:
            return reply.json()
        if attempt + 1 < SLIME_TRIES:
            await pause(min(2**attempt, 30))
    raise GaveUp(reply.status_code)


async def openrlhf(
    clients: Sequence[httpx.AsyncClient], queries: list[str], prompts: list[str], pause: Pause
) -> list[dict[str, Any]]:
    """One reply for each URL, which gets a contiguous share of the queries: maybe an empty one."""
    size = -(-len(queries) // len(clients))
    shares = [slice(index * size, (index + 1) * size) for index in range(len(clients))]
    bodies = [{"query": queries[share], "prompts": prompts[share]} for share in shares]
    return [
        await _openrlhf_post(client, body | {"labels": [None] * len(body["query"])}, pause)
        for client, body in zip(clients, bodies, strict=True)
    ]


async def openrlhf_sample(client: httpx.AsyncClient, query: str, prompt: str, pause: Pause) -> dict[str, Any]:
    """A sample's reward as the executor of v0.11 leaves it: what it gave up on stays None."""
    try:
        (info,) = await openrlhf([client], [query], [prompt], pause)
    except GaveUp:
        return {"reward": None, "scores": None, "extra_logs": {}}
    return {
        "reward": info.get("rewards"),
        "scores": info.get("scores") or info.get("rewards"),
        "extra_logs": info.get("extra_logs") or {},
    }


async def _verl_post(client: httpx.AsyncClient, path: str, payload: dict[str, Any], pause: Pause) -> Any:
    for attempt in range(VERL_TRIES):
        reply = await client.post(path, json=payload)
        if reply.is_success:
            return reply.json()
        if 400 <= reply.status_code < 500:
            raise GaveUp(reply.status_code)
        if attempt + 1 < VERL_TRIES:
            await pause(min(2**attempt, 30))
    raise GaveUp(reply.status_code)


async def _openrlhf_post(client: httpx.AsyncClient, payload: dict[str, Any], pause: Pause) -> Any:
    for _ in range(OPENRLHF_TRIES):
        reply = await client.post("/get_reward", json=payload)
        if reply.is_success:
            return reply.json()
        await pause(1)
    raise GaveUp(reply.status_code)

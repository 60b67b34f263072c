"""Trainers' clients as their sources say they try again, and ours; each asks for the score of one pair.

* OpenRLHF v0.11 (`openrlhf/utils/agent.py`): a session for each try, 5 tries a second apart, 180 s each, whatever the
  status; then the reward stays None.
* slime 624b824 (`slime/rollout/rm_hub`): at most 64 connections, 10 tries, min(2^n, 30) s and up to a second more
  between them, 120 s for each try with the wait for a connection; then it raises.
* verl 1dda039 (`verl/experimental/reward_loop`): no time-out, 16 tries, min(2^n, 30) s between them, none after a 4xx.
* ours: `reward_client.AsyncClient` as it comes.

The loops are written here from those facts; the connection is `benchmarks.soak.http`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.soak.http import Broken, Reply, ask
from reward_client import AsyncClient, RewardServerError


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, a response, and both as the reward model's own template renders them, which is what verl sends."""

    prompt: str
    response: str
    rendered: str


class GaveUp(Exception):
    """The client's own loop came to its end without a score."""


@dataclass(slots=True)
class Tries:
    """How often a client's requests went wrong, by what."""

    failures: dict[str, int] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """Counts one failed try."""
        self.failures[what] = self.failures.get(what, 0) + 1


Ask = Callable[[Pair], Awaitable[float]]
"""Gives a pair's score; raises GaveUp."""

ClientOf = Callable[[int, Tries], AbstractAsyncContextManager[Ask]]
"""Opens a client of the server at a port."""


async def _score_of(tries: Tries, call: Awaitable[Reply]) -> Reply | None:
    """A reply of status 200; None, and noted, for whatever else."""
    try:
        reply = await call
    except Broken:
        tries.note("broken connection or time-out")
        return None
    if reply.status != 200:
        tries.note(f"status {reply.status}")
    return reply


@asynccontextmanager
async def openrlhf(port: int, tries: Tries) -> AsyncIterator[Ask]:
    """OpenRLHF's loop."""

    async def score(pair: Pair) -> float:
        body = {"query": [pair.prompt + pair.response], "prompts": [pair.prompt], "labels": [None]}
        for _ in range(5):
            reply = await _score_of(tries, ask(port, "POST", "/get_reward", body, timeout_s=180))
            if reply is not None and reply.status == 200:
                return float(reply.json()["rewards"][0])
            await asyncio.sleep(1)
        raise GaveUp

    yield score


@asynccontextmanager
async def slime(port: int, tries: Tries) -> AsyncIterator[Ask]:
    """The loop of slime."""
    connections = asyncio.Semaphore(64)
    rng = random.Random(0)

    async def attempt(pair: Pair) -> Reply:
        try:
            async with asyncio.timeout(120), connections:
                body = {"prompt": pair.prompt, "response": pair.response, "label": None}
                return await ask(port, "POST", "/slime", body)
        except TimeoutError as error:
            raise Broken("time-out") from error

    async def score(pair: Pair) -> float:
        for number in range(10):
            reply = await _score_of(tries, attempt(pair))
            if reply is not None and reply.status == 200:
                return float(reply.json())
            await asyncio.sleep(min(2**number, 30) + rng.random())
        raise GaveUp

    yield score


@asynccontextmanager
async def verl(port: int, tries: Tries) -> AsyncIterator[Ask]:
    """The loop of verl; its text is rendered by the reward model's own template."""

    async def score(pair: Pair) -> float:
        body = {"model": "demo", "input": pair.rendered, "use_activation": False}
        for number in range(16):
            reply = await _score_of(tries, ask(port, "POST", "/classify", body))
            if reply is not None and reply.status == 200:
                return float(reply.json()["data"][-1]["probs"][-1])
            if reply is not None and 400 <= reply.status < 500:
                break
            await asyncio.sleep(min(2**number, 30))
        raise GaveUp

    yield score


@asynccontextmanager
async def ours(port: int, tries: Tries) -> AsyncIterator[Ask]:
    """Our client: what it does between tries is its own business."""
    async with AsyncClient(f"http://127.0.0.1:{port}", priority="bulk") as client:

        async def score(pair: Pair) -> float:
            try:
                return float((await client.score([(pair.prompt, pair.response)])).scores[0])
            except RewardServerError as error:
                tries.note(error.code)
                raise GaveUp from error

        yield score


CLIENTS: dict[str, ClientOf] = {"openrlhf": openrlhf, "slime": slime, "verl": verl, "ours": ours}

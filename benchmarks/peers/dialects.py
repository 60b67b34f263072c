"""How each peer is asked for raw scores of the same ids: a path, a body for some pairs, and the scores in its reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.light_http import post_all
from benchmarks.peers.checkpoint import Text
from benchmarks.peers.servers import Server


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask."""

    path: str
    body: Callable[[Sequence[Text]], dict[str, Any]]
    scores: Callable[[Any], list[float]]


def classify(model: str) -> Dialect:
    """As vLLM's `/classify`, raw (`use_activation: false`); reward-server speaks it too."""

    def body(texts: Sequence[Text]) -> dict[str, Any]:
        rendered = [text.rendered for text in texts]
        return {"model": model, "input": rendered, "use_activation": False, "add_special_tokens": False}

    return Dialect("/classify", body, lambda reply: [each["probs"][-1] for each in _by_index(reply["data"])])


def _get_reward_body(texts: Sequence[Text]) -> dict[str, Any]:
    rendered = [text.rendered for text in texts]
    return {"query": rendered, "prompts": rendered, "labels": [None] * len(rendered)}


GET_REWARD = Dialect("/get_reward", _get_reward_body, lambda reply: list(reply["rewards"]))
"""OpenRLHF's `serve_rm`."""


def rerank(model: str) -> Dialect:
    """As infinity's `/rerank`: one query a call, so this asks with documents of one query only."""

    def body(texts: Sequence[Text]) -> dict[str, Any]:
        (query,) = {text.halves[0] for text in texts}
        return {"model": model, "query": query, "documents": [text.halves[1] for text in texts], "raw_scores": True}

    return Dialect("/rerank", body, lambda reply: [each["relevance_score"] for each in _by_index(reply["results"])])


PAIRS = Dialect("/predict", lambda texts: {"pairs": [text.halves for text in texts]}, lambda reply: reply["scores"])
"""Our wrapper around a library (`sentence_transformers_app`)."""

ONE_TEXT = Dialect("/predict", lambda texts: {"text": texts[0].rendered}, lambda reply: [reply["score"]])
"""LitServe's example shape: one input a request; the server makes the batches."""


async def ask(server: Server, dialect: Dialect, calls: Sequence[Sequence[Text]], num_clients: int) -> list[float]:
    """Scores of the texts of all calls, sent by so many clients with one kept connection each."""
    bodies = [json.dumps(dialect.body(call)).encode() for call in calls]
    replies = await post_all(server.url, dialect.path, bodies, num_clients)
    return [score for reply in replies for score in dialect.scores(json.loads(reply))]


def _by_index(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda each: int(each["index"]))

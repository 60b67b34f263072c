"""NVIDIA's reward models as chat completions: `POST /v1/chat/completions`, as its reward NIM and hosted API have it.

The last message is the assistant's answer that is to be judged. The reply holds the raw rewards twice, because its
readers differ: as text in `content` (`name:number,…`, split at commas and colons) and as `logprobs.content`, a token
and its "logprob" each (NeMo-Curator and CAMEL read these). `reward` is the score; a multi-objective model's others
follow it.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects.compat import DeskDep, LenientBody, Turn, conversation_of, num_tokens, transformed
from service.api.dialects.vllm import error_shape
from service.api.json_io import JsonReply, JsonRoute
from service.errors import InvalidInput
from service.types import ModelCard, PairOutcome, Priority

NAME: Final = "nvidia"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])

SCORE_NAME: Final = "reward"


class ChatBody(LenientBody):
    """One conversation, its last message the answer to judge."""

    messages: list[Turn]
    model: str | None = None
    stream: bool | None = None
    n: int | None = None


@router.post("/v1/chat/completions", summary="NVIDIA reward NIM: the reward of a conversation")
async def reward(body: ChatBody, desk: DeskDep) -> Response:
    """Gives the raw reward of the last message, in `content` and in `logprobs`."""
    if body.stream:
        raise InvalidInput("stream is true; allowed: false, a reward is no text that grows", param="stream")
    if body.n not in (None, 1):
        raise InvalidInput(f"n is {body.n}; allowed: 1, a conversation has one reward", param="n")
    pair = conversation_of(body.messages)
    (outcome,) = await desk.scores([pair], NAME, Priority.BULK, body.model)
    card = desk.served(body.model).card
    return JsonReply(_completion(outcome, card, body.model), headers=transformed(is_raw=True))


def rewards_of(outcome: PairOutcome, card: ModelCard) -> list[tuple[str, float]]:
    """Names and raw values: the score, then what other objectives the model has."""
    if outcome.reward is None:
        return []
    others = zip(card.engine.objectives, outcome.reward.objectives, strict=False)
    return [(SCORE_NAME, outcome.reward.score), *(pair for pair in others if pair[0] != SCORE_NAME)]


def _completion(outcome: PairOutcome, card: ModelCard, model: str | None) -> dict[str, Any]:
    rewards = rewards_of(outcome, card)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": ",".join(f"{name}:{value!r}" for name, value in rewards)},
        "logprobs": {
            "content": [{"token": name, "logprob": value, "bytes": None, "top_logprobs": []} for name, value in rewards]
        },
        "finish_reason": "stop",
    }
    tokens = num_tokens([outcome])
    return {
        "id": f"chatcmpl-{uuid.uuid4()}",
        "object": "chat.completion",
        "created": card.created_s,
        "model": model or card.model_id,
        "choices": [choice],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


DIALECT: Final = Dialect(NAME, router, error_shape)

"""vLLM's pooling routes (0.33): `/classify`, `/pooling`, `/score`; verl posts to `/classify`.

Raw scores unless `use_activation` (older verl: `activation`) is true; vLLM's own default is the sigmoid. On `/score`
the sigmoid is what the shape promises. Errors are vLLM's `{"error": {message, type, param, code}}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import AliasChoices, Field
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects.compat import (
    Desk,
    DeskDep,
    LenientBody,
    Turn,
    answer_to,
    conversation_of,
    num_tokens,
    refuse_unhonoured,
    shown,
    transformed,
    whole_ids,
    whole_text,
)
from service.api.dialects.policy_templates import Wanted
from service.api.error_mapping import ErrorReport
from service.api.json_io import JsonReply, JsonRoute
from service.errors import InvalidInput
from service.types import PairInput, PairOutcome, Priority

NAME: Final = "vllm"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])
_numbers: Final = count(1)

_FIRST_KEYS: Final = ("queries", "text_1", "data_1")
_SECOND_KEYS: Final = ("documents", "items", "text_2", "data_2")
TEXT_PAIR_KEYS: Final = frozenset((*_FIRST_KEYS, *_SECOND_KEYS))
"""What tells a body of text pairs from another server's."""


class ModelField(LenientBody):
    """Any name is accepted while one model is loaded."""

    model: str | None = None
    truncate_prompt_tokens: int | None = None


class ClassifyBody(ModelField):
    """One text, several, ids of one or several, or the messages of one conversation."""

    input: str | list[int] | list[str] | list[list[int]] | None = None
    messages: list[Turn] | None = None
    use_activation: bool | None = Field(None, validation_alias=AliasChoices("use_activation", "activation"))
    task: Literal["classify"] | None = None
    encoding_format: Literal["float"] = "float"


class TextPairsBody(ModelField):
    """Two sides, by any of vLLM's names: one to one, one to many, or as many on each."""

    first: str | list[str] = Field(validation_alias=AliasChoices(*_FIRST_KEYS))
    second: str | list[str] = Field(validation_alias=AliasChoices(*_SECOND_KEYS))
    use_activation: bool | None = Field(None, validation_alias=AliasChoices("use_activation", "activation"))


async def answer_classify(body: ClassifyBody, desk: Desk) -> Response:
    """Gives each input's raw score as the only entry of `probs`."""
    outcomes, scores = await _classified(body, desk)
    data = [
        {"index": index, "label": "LABEL_0", "probs": [score], "num_classes": 1} for index, score in enumerate(scores)
    ]
    return _reply("classify", data, outcomes, body, desk, is_raw=not body.use_activation)


@router.post("/pooling", summary="vLLM: pooled outputs")
async def pooling(body: ClassifyBody, desk: DeskDep) -> Response:
    """Gives each input's raw score as its pooled output."""
    outcomes, scores = await _classified(body, desk)
    data = [{"index": index, "object": "pooling", "data": [score]} for index, score in enumerate(scores)]
    return _reply("pooling", data, outcomes, body, desk, is_raw=not body.use_activation)


@router.post("/score", summary="vLLM: scores of text pairs")
async def score(body: TextPairsBody, desk: DeskDep) -> Response:
    """Gives the sigmoid of each pair's score, or the raw one for `use_activation: false`."""
    return await answer_score(body, desk)


async def answer_score(body: TextPairsBody, desk: Desk) -> Response:
    """Answers a body of text pairs, whichever route it came in by."""
    refuse_unhonoured(body, "truncate_prompt_tokens")
    pairs = [answer_to(first, second) for first, second in _sides(body)]
    outcomes = await desk.scores(pairs, NAME, Priority.INTERACTIVE, body.model)
    is_raw = body.use_activation is False
    scores = shown(outcomes, is_raw=is_raw)
    data = [{"index": index, "object": "score", "score": value} for index, value in enumerate(scores)]
    return _reply("score", data, outcomes, body, desk, is_raw=is_raw)


async def _classified(body: ClassifyBody, desk: Desk) -> tuple[list[PairOutcome], list[float]]:
    refuse_unhonoured(body, "truncate_prompt_tokens")
    outcomes = await desk.scores(_inputs(body, desk.policy_template), NAME, Priority.BULK, body.model)
    return outcomes, shown(outcomes, is_raw=not body.use_activation)


def _inputs(body: ClassifyBody, policy_template: Wanted) -> list[PairInput]:
    if (body.input is None) == (body.messages is None):
        raise InvalidInput("allowed: exactly one of input and messages", param="input")
    if body.messages is not None:
        return [conversation_of(body.messages)]
    return inputs_of(body.input or [], policy_template)


def inputs_of(given: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]], policy: Wanted) -> list[PairInput]:
    """One text, several, the ids of one or of several, as pairs."""
    if isinstance(given, str):
        return [whole_text(given, policy)]
    ids = [item for item in given if isinstance(item, int)]
    if ids:
        return [whole_ids(ids)]
    return [whole_text(item, policy) if isinstance(item, str) else whole_ids(item) for item in given]  # type: ignore[arg-type]


def _sides(body: TextPairsBody) -> list[tuple[str, str]]:
    first = [body.first] if isinstance(body.first, str) else body.first
    second = [body.second] if isinstance(body.second, str) else body.second
    if len(first) == 1:
        first = first * len(second)
    if len(first) != len(second):
        raise InvalidInput(f"given {len(first)} and {len(second)} texts; allowed: 1 to N, or N to N")
    return list(zip(first, second, strict=True))


def _reply(
    kind: str, data: object, outcomes: Sequence[PairOutcome], body: ModelField, desk: Desk, *, is_raw: bool
) -> Response:
    tokens = num_tokens(outcomes)
    card = desk.served(body.model).card
    reply = {
        "id": f"{kind}-{next(_numbers)}",
        "object": "list",
        "created": card.created_s,
        "model": body.model or card.model_id,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }
    return JsonReply(reply, headers=transformed(is_raw))


def error_fields(report: ErrorReport) -> tuple[int, dict[str, object]]:
    """Status and fields of an error in OpenAI's words; whatever was wrong with the request is its 400."""
    status = 400 if report.status == 422 else report.status
    kind = "BadRequestError" if status < 500 else "InternalServerError"
    return status, {"message": report.message, "type": kind, "param": report.param, "code": status}


def error_shape(report: ErrorReport) -> tuple[int, object]:
    """Gives vLLM's error body: the fields under `error`."""
    status, fields = error_fields(report)
    return status, {"error": fields}


DIALECT: Final = Dialect(NAME, router, error_shape)

"""infinity's routes (0.0.78) under `/infinity`: `/classify`, `/rerank`, `/models`, `/health`.

Under a prefix because infinity's `/classify` and `/rerank` bodies are vLLM's and its replies are not; infinity itself
has such a prefix as a setting. Scores are the fp32 sigmoid unless `raw_scores`; `document` is a string. Two things
differ from infinity: texts are taken with the white space around them, and `usage` counts tokens, not characters.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service.api.deps import RuntimeDep, StartupDep
from service.api.dialect import Dialect
from service.api.dialects.compat import (
    Desk,
    DeskDep,
    LenientBody,
    answer_to,
    num_tokens,
    shown,
    sigmoid,
    transformed,
    values,
    whole_text,
)
from service.api.error_mapping import ErrorReport, not_ready_reply
from service.api.json_io import JsonReply, JsonRoute
from service.scoring.ordering import rank_order
from service.scoring.protocol import ServedModel
from service.types import PairOutcome, Priority

NAME: Final = "infinity"
router: Final = APIRouter(route_class=JsonRoute, prefix="/infinity", tags=[NAME])

NO_MODEL: Final = "default/not-specified"
"""What infinity's clients send for a request that names no model."""


class ClassifyBody(LenientBody):
    """Texts, each the model's whole input."""

    input: list[str] = Field(min_length=1)
    model: str = NO_MODEL
    raw_scores: bool = False


class RerankBody(LenientBody):
    """A query and documents to order."""

    query: str
    documents: list[str] = Field(min_length=1)
    model: str = NO_MODEL
    top_n: int | None = Field(None, gt=0)
    return_documents: bool = False
    raw_scores: bool = False


@router.post("/classify", summary="infinity: classify")
async def classify(body: ClassifyBody, desk: DeskDep) -> Response:
    """Gives one label with its score for each text."""
    pairs = [whole_text(text, desk.policy_template) for text in body.input]
    outcomes = await desk.scores(pairs, NAME, Priority.INTERACTIVE, _named(body.model))
    data = [[{"score": value, "label": "LABEL_0"}] for value in shown(outcomes, is_raw=body.raw_scores)]
    return _reply({"object": "classify", "data": data}, outcomes, body, desk)


@router.post("/rerank", summary="infinity: rerank")
async def rerank(body: RerankBody, desk: DeskDep) -> Response:
    """Orders documents by the raw score, best first."""
    pairs = [answer_to(body.query, document) for document in body.documents]
    outcomes = await desk.scores(pairs, NAME, Priority.INTERACTIVE, _named(body.model))
    raw = values(outcomes)
    results = [
        {"relevance_score": raw[index] if body.raw_scores else sigmoid(raw[index]), "index": index}
        | ({"document": body.documents[index]} if body.return_documents else {})
        for index in rank_order(raw)[: body.top_n]
    ]
    return _reply({"object": "rerank", "results": results}, outcomes, body, desk)


@router.get("/models", summary="infinity: the models")
async def models(runtime: RuntimeDep) -> Response:
    """Lists the served models."""
    return JsonReply({"object": "list", "data": [_entry(model) for model in runtime.models.values()]})


@router.get("/health", summary="infinity: the time, once it can score")
async def health(startup: StartupDep) -> Response:
    """Gives the Unix time; 503 and the reason while no score can be had."""
    found = startup.health()
    if found.is_ready:
        return JsonReply({"unix": time.time()})
    return not_ready_reply(_error(503, "not_ready", found.reason))


def _named(model: str) -> str | None:
    return None if model == NO_MODEL else model


def _entry(model: ServedModel) -> dict[str, object]:
    """A model as infinity's client reads it: it takes no other owner, and wants `stats` (ours are in /metrics)."""
    card = model.card
    return {
        "id": card.model_id,
        "object": "model",
        "owned_by": "infinity",
        "stats": {},
        "created": card.created_s,
        "backend": "torch",
        "capabilities": ["classify", "rerank"],
    }


def _reply(
    content: dict[str, object], outcomes: Sequence[PairOutcome], body: ClassifyBody | RerankBody, desk: Desk
) -> Response:
    tokens = num_tokens(outcomes)
    card = desk.served(_named(body.model)).card
    reply = content | {
        "model": _named(body.model) or card.model_id,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "id": f"infinity-{uuid.uuid4()}",
        "created": int(time.time()),
    }
    return JsonReply(reply, headers=transformed(body.raw_scores))


def _error(status: int, kind: str, message: str, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def error_shape(report: ErrorReport) -> tuple[int, object]:
    """Gives infinity's bodies: FastAPI's `detail` for a body it cannot read and for a key, OpenAI's `error` else.

    A pair that cannot be scored is a 400, not a 422: its client reads every 422 as `detail`, and raises nothing.
    """
    if report.code == "invalid_fields":
        place = ["body", *([report.param] if report.param else [])]
        return report.status, {"detail": [{"loc": place, "msg": report.message, "type": "value_error"}]}
    if report.status == 401:
        return report.status, {"detail": report.message}
    status = 400 if report.status == 422 else report.status
    return status, _error(status, report.code, report.message, report.param)


DIALECT: Final = Dialect(NAME, router, error_shape)

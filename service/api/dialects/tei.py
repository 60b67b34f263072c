"""Hugging Face text-embeddings-inference: `/predict`, `/`, `/invocations`, `/info`, and its body on `/rerank`.

Scores are the fp32 sigmoid unless `raw_scores`. A list of two texts is a pair, not a batch; a batch is a list of lists.
`huggingface_hub`'s client posts to the bare URL and takes the reply's first element.
"""

from __future__ import annotations

from typing import Final, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service.api.deps import RuntimeDep
from service.api.dialect import Dialect
from service.api.dialects.compat import (
    Desk,
    DeskDep,
    LenientBody,
    answer_to,
    shown,
    sigmoid,
    transformed,
    values,
    whole_text,
)
from service.api.dialects.policy_templates import Wanted
from service.api.error_mapping import ErrorReport
from service.api.json_io import JsonReply, JsonRoute
from service.errors import InvalidInput
from service.scoring.ordering import rank_order
from service.types import PairInput, Priority, Truncation

NAME: Final = "tei"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])

_ERROR_TYPES: Final = {413: "Validation", 422: "Validation", 400: "Validation", 503: "Overloaded"}


class Parameters(LenientBody):
    """What `huggingface_hub` may send beside the input."""

    function_to_apply: Literal["sigmoid", "none"] | None = None


class PredictBody(LenientBody):
    """One text, one pair, or a batch of either."""

    inputs: str | list[str] | list[list[str]]
    raw_scores: bool = False
    truncate: bool | None = None
    parameters: Parameters = Parameters()


class RerankBody(LenientBody):
    """A query and texts to order."""

    query: str
    texts: list[str] = Field(min_length=1)
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None


@router.post("/predict", summary="TEI: predict")
@router.post("/invocations", summary="TEI: predict, as SageMaker calls it")
@router.post("/", summary="TEI: predict at the bare URL")
async def predict(body: PredictBody, desk: DeskDep) -> Response:
    """Gives one label with its score for each input; a flat list for a single one."""
    _refuse_truncation(body)
    batch = [item for item in body.inputs if isinstance(item, list)]
    is_batch = bool(batch) or body.inputs == []
    single = body.inputs if isinstance(body.inputs, str) else [item for item in body.inputs if isinstance(item, str)]
    pairs = [_pair(item, desk.policy_template) for item in (batch if is_batch else [single])]
    outcomes = await desk.scores(pairs, NAME, Priority.INTERACTIVE)
    is_raw = body.raw_scores or body.parameters.function_to_apply == "none"
    lists = [[{"score": value, "label": "LABEL_0"}] for value in shown(outcomes, is_raw=is_raw)]
    return JsonReply(lists if is_batch else lists[0], headers=transformed(is_raw))


async def answer_rerank(body: RerankBody, desk: Desk) -> Response:
    """Gives indices and scores, best first."""
    _refuse_truncation(body)
    pairs = [answer_to(body.query, text) for text in body.texts]
    raw = values(await desk.scores(pairs, NAME, Priority.INTERACTIVE))
    ranked = [
        {"index": index, "score": raw[index] if body.raw_scores else sigmoid(raw[index])}
        | ({"text": body.texts[index]} if body.return_text else {})
        for index in rank_order(raw)
    ]
    return JsonReply(ranked, headers=transformed(body.raw_scores))


@router.get("/info", summary="TEI: the model")
async def info(runtime: RuntimeDep) -> Response:
    """Tells a TEI client what it asks for."""
    card, settings = runtime.default_model.card, runtime.settings
    return JsonReply(
        {
            "model_id": card.model_id,
            "model_sha": card.fingerprint,
            "model_dtype": card.engine.numeric_mode.get("dtype", ""),
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_input_length": card.max_tokens,
            "max_batch_tokens": card.engine.max_frame_tokens,
            "max_client_batch_size": settings.max_pairs_per_request,
            "auto_truncate": settings.truncation is not Truncation.ERROR,
            "tokenization_workers": settings.tokenizer_threads,
        }
    )


def _refuse_truncation(body: PredictBody | RerankBody) -> None:
    """Without `truncate` a `truncation_direction`, which litellm always sends, means nothing."""
    if body.truncate:
        raise InvalidInput(
            "truncate is true; allowed: leave it out and set --truncation on the server", param="truncate"
        )


def _pair(item: str | list[str], policy_template: Wanted) -> PairInput:
    if isinstance(item, str):
        return whole_text(item, policy_template)
    if len(item) == 1:
        return whole_text(item[0], policy_template)
    if len(item) == 2:
        return answer_to(item[0], item[1])
    raise InvalidInput(f"an input has {len(item)} texts; allowed: one, or two as a pair", param="inputs")


def error_shape(report: ErrorReport) -> tuple[int, object]:
    """TEI's error body."""
    return report.status, {"error": report.message, "error_type": _ERROR_TYPES.get(report.status, "Backend")}


DIALECT: Final = Dialect(NAME, router, error_shape)

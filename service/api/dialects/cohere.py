"""Cohere's and Jina's rerank object: `/v1/rerank`, `/v2/rerank`, and vLLM's on `/rerank`.

Cohere's v1 and v2 clients (7.3), LangChain's, litellm's and rerankers' read the same fields: `index` and
`relevance_score`, best first. The score is the fp32 sigmoid, since clients expect 0 to 1; `raw_score` stands beside it
and decides the order. `document` comes only if asked for.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects.compat import Desk, DeskDep, LenientBody, answer_to, num_tokens, sigmoid, transformed, values
from service.api.error_mapping import ErrorReport
from service.api.json_io import JsonReply, JsonRoute
from service.errors import InvalidInput
from service.scoring.ordering import rank_order
from service.types import Priority

NAME: Final = "cohere"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])


class RerankBody(LenientBody):
    """A query and what is to be ordered by how well it answers it."""

    query: str
    documents: list[str | dict[str, Any]]
    model: str | None = None
    top_n: int | None = Field(None, ge=0, description="0 and null mean all.")
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    raw_scores: bool = False


@router.post("/v1/rerank", summary="Cohere v1 and Jina: rerank")
@router.post("/v2/rerank", summary="Cohere v2: rerank")
async def rerank(body: RerankBody, desk: DeskDep) -> Response:
    """Orders documents by the raw score, best first."""
    return await answer_rerank(body, desk)


async def answer_rerank(body: RerankBody, desk: Desk) -> Response:
    """Answers a rerank body, whichever route it came in by."""
    texts = [_text_of(document, index, body.rank_fields) for index, document in enumerate(body.documents)]
    pairs = [answer_to(body.query, text) for text in texts]
    outcomes = await desk.scores(pairs, NAME, Priority.INTERACTIVE, body.model)
    raw = values(outcomes)
    results = []
    for index in rank_order(raw)[: body.top_n or None]:
        shown = raw[index] if body.raw_scores else sigmoid(raw[index])
        entry: dict[str, object] = {"index": index, "relevance_score": shown, "raw_score": raw[index]}
        results.append(entry | ({"document": {"text": texts[index]}} if body.return_documents else {}))
    tokens = num_tokens(outcomes)
    reply = {
        "id": "rerank",
        "object": "list",
        "model": body.model or desk.runtime.default_model.card.model_id,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"api_version": {"version": "2"}, "tokens": {"input_tokens": tokens}},
    }
    return JsonReply(reply, headers=transformed(body.raw_scores))


def _text_of(document: str | dict[str, Any], index: int, rank_fields: list[str] | None) -> str:
    """A document's text: the string itself, or its `text`; Cohere's `rank_fields` joins others, one a line."""
    if isinstance(document, str):
        return document
    parts = [document.get(field) for field in (rank_fields or ["text"])]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        wanted = ", ".join(rank_fields or ["text"])
        raise InvalidInput(f"documents[{index}] lacks text in: {wanted}", param=f"documents[{index}]")
    return "\n".join(texts)


def error_shape(report: ErrorReport) -> tuple[int, object]:
    """Cohere's error body."""
    return report.status, {"message": report.message}


DIALECT: Final = Dialect(NAME, router, error_shape)

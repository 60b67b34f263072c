"""`/v1/score`: ours, and vLLM's scores of text pairs where the body has vLLM's keys and no `pairs`.

Whatever is neither is taken for ours, so that its error names our fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from service.api.deps import CallerDep, RuntimeDep
from service.api.dialect import Dialect
from service.api.dialects import native, vllm
from service.api.dialects import native_examples as examples
from service.api.dialects.compat import Desk, parse_body
from service.api.dialects.native_bodies import ScoreBody
from service.api.error_mapping import native_shape
from service.api.json_io import JsonRoute

router: Final = APIRouter(route_class=JsonRoute, tags=["native"], responses=examples.ERROR_REPLIES)

AnyObject = Annotated[dict[str, Any], Body(openapi_examples=examples.SCORE_BODIES)]

_SCHEMAS: Final = [{"$ref": f"#/components/schemas/{name}"} for name in ("ScoreBody", "TextPairsBody")]
_DESCRIBED: Final = {"requestBody": {"content": {"application/json": {"schema": {"anyOf": _SCHEMAS}}}}}
"""The kinds of body, both described by other routes that take them."""


@router.post("/v1/score", summary="Score pairs", responses=examples.SCORE_REPLY, openapi_extra=_DESCRIBED)
async def score(body: AnyObject, request: Request, runtime: RuntimeDep, caller: CallerDep) -> Response:
    """Gives one result for each pair, in order: a `score` or an `error`; one bad pair never spoils the others.

    With `Accept: application/x-ndjson` results come one line each as they finish, then a line of totals. A body
    with vLLM's keys and no `pairs` gets vLLM's reply.
    """
    if is_vllm(body):
        request.state.error_shape = vllm.error_shape
        return await vllm.answer_score(parse_body(vllm.TextPairsBody, body), Desk(runtime, caller))
    return await native.answer_score(parse_body(ScoreBody, body), request, runtime, caller)


def is_vllm(body: dict[str, Any]) -> bool:
    """Whether a body's keys are vLLM's and not ours."""
    return "pairs" not in body and not vllm.TEXT_PAIR_KEYS.isdisjoint(body)


DIALECT: Final = Dialect("shared score", router, native_shape)

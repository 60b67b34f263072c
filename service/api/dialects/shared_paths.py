"""Paths that several protocols claim: the body's keys say whose it is (docs/clients.md has the table)."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects import cohere, sglang, tei, vllm
from service.api.dialects.compat import DeskDep, parse_body
from service.api.json_io import JsonRoute

router: Final = APIRouter(route_class=JsonRoute, tags=["shared paths"])
AnyObject = Annotated[dict[str, Any], Body()]


@router.post("/classify", summary="SGLang (text, input_ids) or vLLM (input, messages): classify")
@router.post("/v1/classify", summary="SGLang or vLLM: classify")
async def classify(body: AnyObject, request: Request, desk: DeskDep) -> Response:
    """Gives raw rewards in the shape of whoever's body it is."""
    if "text" in body or "input_ids" in body:
        request.state.error_shape = sglang.error_shape
        return await sglang.answer_native(parse_body(sglang.NativeBody, body), desk)
    return await vllm.answer_classify(parse_body(vllm.ClassifyBody, body), desk)


@router.post("/rerank", summary="TEI (texts) or vLLM and Jina (documents): rerank")
async def rerank(body: AnyObject, request: Request, desk: DeskDep) -> Response:
    """Orders texts, best first, in the shape of whoever's body it is."""
    if "texts" in body:
        request.state.error_shape = tei.error_shape
        return await tei.answer_rerank(parse_body(tei.RerankBody, body), desk)
    return await cohere.answer_rerank(parse_body(cohere.RerankBody, body), desk)


DIALECT: Final = Dialect("shared", router, vllm.error_shape)

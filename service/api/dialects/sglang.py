"""SGLang's reward routes (0.5.23): its own `/classify` body, and `/v1/embeddings`, to which verl posts.

The raw reward is the only entry of `embedding`; nothing is normalised.
"""

from __future__ import annotations

import base64
import struct
from typing import Final, Literal

from fastapi import APIRouter
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects.compat import Desk, DeskDep, LenientBody, num_tokens, refuse_unhonoured, transformed, values
from service.api.dialects.vllm import error_fields, inputs_of
from service.api.error_mapping import ErrorReport
from service.api.json_io import JsonReply, JsonRoute
from service.errors import InvalidInput
from service.types import Priority

NAME: Final = "sglang"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])


class NativeBody(LenientBody):
    """SGLang's own body: texts or ids."""

    text: str | list[str] | None = None
    input_ids: list[int] | list[list[int]] | None = None
    dimensions: int | None = None


class EmbeddingsBody(LenientBody):
    """OpenAI's embeddings body."""

    input: str | list[int] | list[str] | list[list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


async def answer_native(body: NativeBody, desk: Desk) -> Response:
    """Gives one object for one text, a list for a list."""
    refuse_unhonoured(body, "dimensions")
    if (body.text is None) == (body.input_ids is None):
        raise InvalidInput("allowed: exactly one of text and input_ids", param="text")
    given = body.text if body.text is not None else (body.input_ids or [])
    outcomes = await desk.scores(inputs_of(given, desk.policy_template), NAME, Priority.BULK)
    items = [
        {"embedding": [value], "meta_info": {"id": str(outcome.index), "prompt_tokens": num_tokens([outcome])}}
        for outcome, value in zip(outcomes, values(outcomes), strict=True)
    ]
    is_single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    return JsonReply(items[0] if is_single else items, headers=transformed(is_raw=True))


@router.post("/v1/embeddings", summary="SGLang: rewards in the shape of embeddings")
async def embeddings(body: EmbeddingsBody, desk: DeskDep) -> Response:
    """Gives the raw reward of each input as an embedding of length 1."""
    refuse_unhonoured(body, "dimensions")
    outcomes = await desk.scores(inputs_of(body.input, desk.policy_template), NAME, Priority.BULK, body.model)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(value, body.encoding_format)}
        for index, value in enumerate(values(outcomes))
    ]
    tokens = num_tokens(outcomes)
    model = body.model or desk.runtime.default_model.card.model_id
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JsonReply({"object": "list", "data": data, "model": model, "usage": usage}, headers=transformed(is_raw=True))


def _encoded(value: float, encoding: str) -> list[float] | str:
    """The one number, or the base64 of its four little-endian bytes, as OpenAI's client reads it."""
    return [value] if encoding == "float" else base64.b64encode(struct.pack("<f", value)).decode()


def error_shape(report: ErrorReport) -> tuple[int, object]:
    """SGLang's error body: the same fields as vLLM's, flat."""
    status, fields = error_fields(report)
    return status, {"object": "error", **fields}


DIALECT: Final = Dialect(NAME, router, error_shape)

"""The native dialect: `/v1/rank`, `/v1/tokenize`, `/v1/verify`, `/v1/models` and `/v1/info`.

The contract is `docs/api.md`. Handlers translate, call, translate. `/v1/score` is shared with vLLM: its route stands
in `shared_score.py`, which hands native bodies on to `answer_score`.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from service.api.deps import CallerDep, ModelDep, RuntimeDep, SettingsDep
from service.api.dialect import Dialect
from service.api.dialects import native_examples as examples
from service.api.dialects.native_bodies import RankBody, RequestBody, ScoreBody, VerifyBody
from service.api.dialects.native_replies import (
    model_entry,
    rank_reply,
    score_reply,
    score_result,
    tokenize_reply,
    totals,
    verify_reply,
)
from service.api.error_mapping import native_shape
from service.api.json_io import JsonReply, JsonRoute
from service.api.ndjson import NdjsonReply, wants_ndjson
from service.api.runtime import Runtime
from service.api.scoring_call import Caller, ScoringCall, score_all, unless_disconnected, within
from service.errors import FingerprintMismatch, InvalidInput
from service.scoring.protocol import ServedModel
from service.settings import Settings
from service.types import ModelCard, PairOutcome

router: Final = APIRouter(route_class=JsonRoute, tags=["native"], responses=examples.ERROR_REPLIES)

RankBodyDep = Annotated[RankBody, Body(openapi_examples=examples.RANK_BODIES)]
TokenizeBodyDep = Annotated[ScoreBody, Body(openapi_examples=examples.TOKENIZE_BODIES)]
VerifyBodyDep = Annotated[VerifyBody, Body(openapi_examples=examples.VERIFY_BODIES)]


class ScoreLines:
    """The lines of a streamed `/v1/score`: each result as it finishes, then the totals. Owns the call."""

    def __init__(self, call: ScoringCall, body: ScoreBody, card: ModelCard) -> None:
        self._call = call
        self._body = body
        self._card = card
        self._outcomes: list[PairOutcome] = []
        self._is_over = False

    def __aiter__(self) -> ScoreLines:
        """Returns itself."""
        return self

    async def __anext__(self) -> object:
        """Waits for the next result; after the last one gives the totals once."""
        async for outcome in self._call:
            self._outcomes.append(outcome)
            return score_result(outcome, self._body.pairs[outcome.index], self._card, self._body.explain)
        if self._is_over:
            raise StopAsyncIteration
        self._is_over = True
        return {"model": self._card.model_id, "fingerprint": self._card.fingerprint, **totals(self._outcomes)}

    async def aclose(self) -> None:
        """Cancels what has not been computed."""
        await self._call.aclose()


async def answer_score(body: ScoreBody, request: Request, runtime: Runtime, caller: Caller) -> Response:
    """Answers a native score body: all results at once, or a line each as they finish if the caller accepts that."""
    model = chosen_model(body, len(body.pairs), runtime)
    options = body.to_options(explain=body.explain)
    if wants_ndjson(request):
        call = await ScoringCall.begin(model, body.to_pairs(), options, caller)
        return NdjsonReply(ScoreLines(call, body, model.card))
    outcomes = await score_all(model, body.to_pairs(), options, caller)
    return JsonReply(score_reply(outcomes, body.pairs, model.card, body.explain))


@router.post("/v1/rank", summary="Rank responses to one prompt", responses=examples.RANK_REPLY)
async def rank(body: RankBodyDep, runtime: RuntimeDep, caller: CallerDep) -> Response:
    """Orders responses best first; ties keep input order, failed responses are listed in `errors`."""
    model = chosen_model(body, len(body.responses), runtime)
    outcomes = await score_all(model, body.to_pairs(), body.to_options(), caller)
    return JsonReply(rank_reply(outcomes, body, model.card))


@router.post("/v1/tokenize", summary="Show what would be read", responses=examples.TOKENIZE_REPLY)
async def tokenize(body: TokenizeBodyDep, runtime: RuntimeDep, caller: CallerDep) -> Response:
    """Renders, tokenizes and cuts the pairs of a `/v1/score` body without scoring them."""
    model = chosen_model(body, len(body.pairs), runtime)
    timeout_s = body.to_options().deadline_s or caller.default_timeout_s
    preview = within(timeout_s, model.preview(body.to_pairs(), body.truncation))
    encoded = await unless_disconnected(caller.arrival, preview)
    return JsonReply(tokenize_reply(encoded, body.pairs, model.card))


@router.post("/v1/verify", summary="Score the golden pairs now", responses=examples.VERIFY_REPLY)
async def verify(runtime: RuntimeDep, caller: CallerDep, body: VerifyBodyDep = VerifyBody()) -> Response:  # noqa: B008
    """Scores the model's golden pairs through the real path and reports the differences; `ok` sums it up."""
    model = runtime.find(body.model)
    checks = await unless_disconnected(caller.arrival, within(caller.default_timeout_s, model.verify()))
    return JsonReply(verify_reply(checks, model.card))


@router.get("/v1/models", summary="List the models", responses=examples.MODELS_REPLY)
async def models(runtime: RuntimeDep) -> Response:
    """Lists the served models in OpenAI's shape, plus fingerprint, limits, head and readout."""
    return JsonReply({"object": "list", "data": [model_entry(model.card) for model in runtime.models.values()]})


@router.get("/v1/models/{name:path}", summary="Show one model", responses=examples.MODEL_REPLY)
async def model(model: ModelDep) -> Response:
    """Shows the model that answers to this name or alias."""
    return JsonReply(model_entry(model.card))


@router.get("/v1/info", summary="Show settings, limits and numerics", responses=examples.INFO_REPLY)
async def info(runtime: RuntimeDep, settings: SettingsDep) -> Response:
    """Shows the effective settings (secrets masked), limits, and each model's device and numeric mode."""
    shown = [_model_info(model) for model in runtime.models.values()]
    return JsonReply({"settings": settings.describe(), "limits": _limits(settings), "models": shown})


def chosen_model(body: RequestBody, num_pairs: int, runtime: Runtime) -> ServedModel:
    """Finds the model a body asks for and checks what concerns the whole call.

    Raises:
        BodyTooLarge: If there are too many pairs.
        UnknownModel: If no model answers to the name.
        FingerprintMismatch: If the caller demands another fingerprint.
        InvalidInput: If a calibration artefact is named that the model does not have.
    """
    runtime.check_num_pairs(num_pairs)
    model = runtime.find(body.model)
    demanded, served = body.demanded(), model.card.fingerprint
    if demanded is not None and demanded != served:
        message = f"given {demanded!a}; {model.card.model_id} is served with {served}"
        raise FingerprintMismatch(message, param="fingerprint")
    if body.normalize is not None:
        message = f"{model.card.model_id} has no calibration artefact {body.normalize!a}; allowed: null"
        raise InvalidInput(message, param="normalize")
    return model


def _limits(settings: Settings) -> dict[str, object]:
    return {
        "max_pairs_per_request": settings.max_pairs_per_request,
        "max_body_bytes": settings.max_body_bytes,
        "max_queue_tokens": settings.max_queue_tokens,
        "max_queue_pairs": settings.max_queue_pairs,
        "default_timeout_s": settings.default_timeout_s,
    }


def _model_info(model: ServedModel) -> dict[str, object]:
    card, health = model.card, model.health()
    engine = card.engine
    return {
        **model_entry(card),
        "ready": health.is_ready,
        "reason": health.reason,
        "device": engine.device,
        "device_name": engine.device_name,
        "numeric_mode": engine.numeric_mode,
        "max_frame_tokens": engine.max_frame_tokens,
        "frame_sizes": list(engine.frame_sizes),
        "details": card.details,
    }


DIALECT: Final = Dialect("native", router, native_shape)

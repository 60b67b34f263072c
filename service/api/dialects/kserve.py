"""Open Inference protocol v2 (KServe) with Triton's extensions, under `/v2`: how NeMo-Aligner asks for rewards.

One signature: texts in `sentences` (BYTES), each the model's whole input, or the reward model's own ids in `tokens`
and `sequence_lengths` (integers), taken verbatim; `rewards` (FP32, `[B, 1]`, raw) comes out. Spoken to by
`tritonclient` (2.73), `pytriton.client.FuturesModelClient` (0.7), which NeMo-Aligner uses, and KServe's own client.
Triton's clients look at the status alone and KServe's at the JSON, so that both are always given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.deps import RuntimeDep, StartupDep
from service.api.dialect import Dialect
from service.api.dialects.compat import Desk, DeskDep, parse_body, transformed, values
from service.api.dialects.kserve_bodies import IDS, LENGTHS, REWARDS, TEXTS, InferBody, pairs_of
from service.api.dialects.kserve_tensors import fp32_bytes, inflate, split
from service.api.error_mapping import ErrorReport, not_ready_reply
from service.api.json_io import JsonReply, parse_json, render_json
from service.errors import UnknownModel
from service.types import Health, Priority

NAME: Final = "kserve"
router: Final = APIRouter(prefix="/v2", tags=[NAME])
"""Bodies may be binary: the routes read them themselves. Of two decorators the lower one is tried first."""

DEFAULT_NAME: Final = "reward_model"
"""What NeMo-Aligner's server calls its model: here the default model, unless one is really called so."""

VERSION: Final = "1"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_INPUTS: Final = ((TEXTS, "BYTES", 1), (IDS, "INT64", -1), (LENGTHS, "INT64", 1))
"""Name, datatype and size of each input's second dimension; -1 for any. The first is the batch."""


@router.get("", summary="KServe, Triton: the server")
async def server() -> Response:
    """Says who answers and which extensions it speaks."""
    return JsonReply({"name": "reward-server", "version": "2", "extensions": ["binary_tensor_data"]})


@router.get("/health/live", summary="KServe, Triton: does the process answer?")
async def live() -> Response:
    """Says 200 as long as the process answers at all."""
    return JsonReply({"live": True})


@router.get("/health/ready", summary="KServe, Triton: can every model score now?")
async def ready(startup: StartupDep) -> Response:
    """Says 200 once every model can score, else 503."""
    return _readiness(startup.health(), {"live": True})


@router.post("/repository/index", summary="Triton: the models")
async def index(runtime: RuntimeDep) -> Response:
    """Lists the served models."""
    entries = [(model.card.model_id, model.health()) for model in runtime.models.values()]
    return JsonReply(
        [
            {"name": name, "version": VERSION, "state": "READY" if health.is_ready else "UNAVAILABLE"}
            | ({"reason": health.reason} if health.reason else {})
            for name, health in entries
        ]
    )


@router.post("/models/{name:path}/infer", summary="KServe, Triton: infer")
@router.post("/models/{name:path}/versions/{version}/infer", summary="KServe, Triton: infer, of a version")
async def infer(name: str, request: Request, desk: DeskDep, version: str = VERSION) -> Response:
    """Gives `rewards` for `sentences`, or for `tokens` with `sequence_lengths`."""
    _check(name, version, desk)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    plain = inflate(await request.body(), encoding, desk.runtime.settings.max_body_bytes)
    head, tail = split(plain, request.headers.get(HEADER_LENGTH, ""))
    body = parse_body(InferBody, parse_json(head))
    is_binary = body.wants_binary()
    pairs = pairs_of(body.tensors(tail), desk.policy_template)
    rewards = values(await desk.scores(pairs, NAME, Priority.BULK, _known_name(name, desk)))
    reply = {"model_name": name, "model_version": VERSION} | ({} if body.id is None else {"id": body.id})
    return _inferred(reply, rewards, is_binary=is_binary)


@router.get("/models/{name:path}/ready", summary="KServe, Triton: can this model score now?")
@router.get("/models/{name:path}/versions/{version}/ready", summary="KServe, Triton: model ready, of a version")
async def model_ready(name: str, desk: DeskDep, version: str = VERSION) -> Response:
    """Says 200 once the model can score, else 503."""
    _check(name, version, desk)
    return _readiness(desk.served(_known_name(name, desk)).health(), {"name": name})


@router.get("/models/{name:path}/config", summary="Triton: model configuration")
@router.get("/models/{name:path}/versions/{version}/config", summary="Triton: model configuration, of a version")
async def config(name: str, desk: DeskDep, version: str = VERSION) -> Response:
    """Gives what pytriton's client reads before it sends anything: names, types, and the largest batch."""
    _check(name, version, desk)
    device = desk.served(_known_name(name, desk)).card.engine.device
    inputs = [
        {"name": tensor, "data_type": _triton_type(datatype), "dims": [size], "optional": True}
        for tensor, datatype, size in _INPUTS
    ]
    return JsonReply(
        {
            "name": name,
            "platform": "",
            "backend": "reward-server",
            "max_batch_size": desk.runtime.settings.max_pairs_per_request,
            "input": inputs,
            "output": [{"name": REWARDS, "data_type": "TYPE_FP32", "dims": [1]}],
            "instance_group": [{"name": name, "kind": "KIND_CPU" if device == "cpu" else "KIND_GPU", "count": 1}],
            "parameters": {},
        }
    )


@router.get("/models/{name:path}", summary="KServe, Triton: model metadata")
@router.get("/models/{name:path}/versions/{version}", summary="KServe, Triton: model metadata, of a version")
async def metadata(name: str, desk: DeskDep, version: str = VERSION) -> Response:
    """Gives the names, types and shapes of the inputs and of the output."""
    _check(name, version, desk)
    inputs = [{"name": tensor, "datatype": datatype, "shape": [-1, size]} for tensor, datatype, size in _INPUTS]
    return JsonReply(
        {
            "name": name,
            "versions": [VERSION],
            "platform": "reward-server",
            "inputs": inputs,
            "outputs": [{"name": REWARDS, "datatype": "FP32", "shape": [-1, 1]}],
        }
    )


def _known_name(name: str, desk: Desk) -> str | None:
    return None if name == DEFAULT_NAME and DEFAULT_NAME not in desk.runtime.models else name


def _check(name: str, version: str, desk: Desk) -> None:
    """Raises UnknownModel for a name nobody answers to, or a version that is not there."""
    desk.served(_known_name(name, desk))
    if version != VERSION:
        raise UnknownModel(f"version {version!a} of {name!a} is not loaded; allowed: {VERSION}", param="version")


def _triton_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _readiness(health: Health, reply: dict[str, object]) -> Response:
    if health.is_ready:
        return JsonReply(reply | {"ready": True})
    return not_ready_reply(reply | {"ready": False, "error": health.reason})


def _inferred(reply: dict[str, str], rewards: Sequence[float], *, is_binary: bool) -> Response:
    """The reply with its one output, as numbers in the JSON or as raw bytes behind it."""
    output = {"name": REWARDS, "datatype": "FP32", "shape": [len(rewards), 1]}
    headers = transformed(is_raw=True)
    if not is_binary:
        return JsonReply(reply | {"outputs": [output | {"data": list(rewards)}]}, headers=headers)
    raw = fp32_bytes(rewards)
    head = render_json(reply | {"outputs": [output | {"parameters": {"binary_data_size": len(raw)}}]})
    headers[HEADER_LENGTH] = str(len(head))
    return Response(head + raw, media_type="application/octet-stream", headers=headers)


def error_shape(report: ErrorReport) -> tuple[int, object]:
    """Gives the protocol's error body; whatever was wrong with the request is its 400."""
    return 400 if report.status == 422 else report.status, {"error": report.message}


DIALECT: Final = Dialect(NAME, router, error_shape)

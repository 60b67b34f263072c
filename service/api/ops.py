"""What operators and machines ask: is it alive, is it ready, what does it count."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from service.api.deps import StartupDep
from service.api.error_mapping import not_ready_reply
from service.api.json_io import JsonReply

router: Final = APIRouter(tags=["operations"])

_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "Not now; `reason` says why, Retry-After when to ask again",
        "content": {"application/json": {"example": {"status": "not_ready", "reason": "starting: loading weights"}}},
    }
}


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Does the process answer?")
async def livez() -> Response:
    """Says 200 as long as the process answers at all, loading or not."""
    return JsonReply({"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Can it score now?", responses=_NOT_READY)
async def readyz(startup: StartupDep) -> Response:
    """Says 200 once every model has scored its golden pairs and its engine is alive; else 503 and why not."""
    health = startup.health()
    if health.is_ready:
        return JsonReply({"status": "ready", "reason": ""})
    return not_ready_reply({"status": "not_ready", "reason": health.reason})


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="The same as /readyz", responses=_NOT_READY)
async def health(startup: StartupDep) -> Response:
    """Answers as /readyz does."""
    return await readyz(startup)


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Gives all counters in Prometheus' text format."""
    source = request.app.state.metrics
    return Response(source.exposition(), media_type=source.content_type)

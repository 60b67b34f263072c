"""What operators and machines ask: is it alive, is it ready, what does it count."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.deps import StartupDep
from service.api.error_mapping import RETRY_AFTER_S
from service.api.json_io import JsonReply

router: Final = APIRouter(tags=["operations"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Does the process answer?")
async def livez() -> Response:
    """Says 200 as long as the process answers at all, loading or not."""
    return JsonReply({"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Can it score now?")
async def readyz(startup: StartupDep) -> Response:
    """Says 200 once every model has scored its golden pairs and its engine is alive; else 503 and why not."""
    health = startup.health()
    if health.is_ready:
        return JsonReply({"status": "ready", "reason": ""})
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return JsonReply({"status": "not_ready", "reason": health.reason}, status_code=503, headers=headers)


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="The same as /readyz")
async def health(startup: StartupDep) -> Response:
    """Answers as /readyz does."""
    return await readyz(startup)


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    """Gives all counters in Prometheus' text format."""
    source = request.app.state.metrics
    return Response(source.exposition(), media_type=source.content_type)

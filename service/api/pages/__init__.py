"""What a person opens in a browser: `/` scores and ranks by hand, `/docs` shows the API with its examples.

Plain files, no build step and nothing from elsewhere: they work offline, under a policy that lets a page load and
reach nothing but this server. `/docs` is our own small page over `/openapi.json`, because the usual ones load
their code from a CDN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

_FOLDER: Final = Path(__file__).parent

_MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""`no-referrer`, because the address may hold `?key=`."""

router: Final = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def index() -> Response:
    """The page that scores one pair and ranks several responses."""
    return _page("index.html")


@router.get("/docs")
async def docs() -> Response:
    """The API, route by route, with worked examples."""
    return _page("docs.html")


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def static(name: str) -> Response:
    """One of the pages' own files; only those of the kinds listed here exist, and no folders."""
    path = _FOLDER / Path(name).name
    if path.suffix not in _MEDIA_TYPES or not path.is_file():
        raise HTTPException(404)
    return Response(path.read_bytes(), media_type=_MEDIA_TYPES[path.suffix], headers=_HEADERS)


def _page(name: str) -> Response:
    return Response((_FOLDER / name).read_bytes(), media_type="text/html", headers=_HEADERS)

"""A route whose handler is called by us: FastAPI describes it, and its solver of dependencies does not run.

For `/v1/score`, of which a trainer asks thousands. Between route and handler FastAPI made some 250 calls of Python
functions a request, of 3,000 in all on the event loop; this makes a dozen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.responses import Response

from service.api.deps import get_caller, get_runtime
from service.api.json_io import JsonRoute, parse_json


class DirectRoute(JsonRoute):
    """A route for a JSON object, called as `endpoint(body, request, runtime, caller)`.

    What is no object is left to FastAPI, so that it is refused in the same words as on any other route.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Parses the body, and calls the endpoint with it."""
        leave_to_fastapi: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def call(request: Request) -> Response:
            body = parse_json(await request.body())
            if not isinstance(body, dict):
                return await leave_to_fastapi(request)
            reply: Response = await self.endpoint(body, request, await get_runtime(request), await get_caller(request))
            return reply

        return call

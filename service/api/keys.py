"""Who may ask: one of several keys, known in clear or by their SHA-256, on every path but the open ones.

Keys are random words of machines, not passwords of people, so one plain SHA-256 is as good at rest as a slow hash.
Everything is compared with everything in a time that does not depend on where they differ.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_mapping import error_response
from service.api.headers import header_of
from service.errors import Unauthorized
from service.settings import HASHED_KEY_PREFIX

PROBES: Final = frozenset({"/livez", "/readyz", "/health", "/infinity/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key and never wait."""

OPEN_ROUTES: Final = PROBES | {"/"}
"""Paths a GET or HEAD may see without a key. `POST /` is another dialect's scoring route, and needs one."""

OPEN_FOLDER: Final = "/static/"
"""The page's own files: nothing in them is secret."""


class ApiKey:
    """Asks for one of several keys, as `Authorization: Bearer KEY` or `?key=KEY`; no keys, no questions.

    Afterwards `scope["state"]["caller"]` tells callers apart: by their key, else by their address.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = tuple(map(_digest_of_setting, keys))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        known = self._known(scope) if self._digests else None
        if self._digests and known is None and not _is_open(scope):
            message = "the API key is missing or wrong; allowed: Authorization: Bearer KEY, or ?key=KEY"
            await error_response(Unauthorized(message), scope)(scope, receive, send)
            return
        scope["state"]["caller"] = _address(scope) if known is None else f"key {known}"
        await self._app(scope, receive, send)

    def _known(self, scope: Scope) -> int | None:
        """The place of the key that was shown among those there are; None if there is none."""
        given = [_digest(key) for key in (_bearer(scope), scope["state"]["query_key"].encode()) if key]
        compared = [(place, mine, theirs) for place, mine in enumerate(self._digests) for theirs in given]
        places = [place for place, mine, theirs in compared if hmac.compare_digest(mine, theirs)]
        return places[0] if places else None


def _digest_of_setting(key: str) -> bytes:
    """The digest of a key as it is configured: in clear, or `sha256:` and 64 hex digits (checked by the settings)."""
    if key.startswith(HASHED_KEY_PREFIX):
        return bytes.fromhex(key.removeprefix(HASHED_KEY_PREFIX))
    return _digest(key.encode("utf-8", "surrogateescape"))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _bearer(scope: Scope) -> bytes:
    scheme, _, key = header_of(scope, b"authorization").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN_ROUTES or path.startswith(OPEN_FOLDER))

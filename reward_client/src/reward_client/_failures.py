"""Reads replies that are not 200, and the errors of single pairs: what may pass, and what will not."""

from __future__ import annotations

from typing import Any

from reward_client import errors
from reward_client._exchange import Failure, Reply
from reward_client._json import MalformedReply, read_object, shown
from reward_client.values import PairError

RETRIED_STATUSES = frozenset({500, 502, 503, 504})
"""Statuses that a restart or an emptier queue cures.

The body's `retryable` is not asked: an unexpected 500 says false, yet one lost worker should not end a
training run that `retry_for_s` would have saved.
"""

_REFUSALS: dict[int, type[errors.RequestRefused]] = {
    401: errors.Unauthorized,
    404: errors.UnknownModel,
    412: errors.FingerprintMismatch,
    413: errors.TooLarge,
}


def read_failure(reply: Reply) -> Failure | errors.RewardServerError:
    """Returns what a reply that is not 200 means: a failure worth another try, or the error to raise."""
    code, message, param = _read_error_body(reply.body)
    request_id = reply.headers.get("x-request-id")
    text = f"HTTP {reply.status}: {message}"
    if reply.status in RETRIED_STATUSES:
        default_code = "overloaded" if reply.status == 503 else "server_error"
        retry_after_s = _read_retry_after(reply.headers.get("retry-after", ""))
        return Failure(code or default_code, text, reply.status, retry_after_s, request_id)
    refusal = _REFUSALS.get(reply.status, errors.RequestRefused)
    if refusal is errors.TooLarge:
        text += " (the client's max_pairs_per_request and max_bytes_per_request say how requests are cut)"
    return refusal(text, code=code, status=reply.status, param=param, request_id=request_id)


def read_pair_error(raw: Any) -> PairError:
    """Returns the error of one pair."""
    if not isinstance(raw, dict) or not isinstance(raw.get("code"), str):
        raise MalformedReply(f"an error without a code: {raw!r:.200}")
    return PairError(raw["code"], str(raw.get("message", "")), raw.get("retryable") is True)


def _read_error_body(body: bytes) -> tuple[str | None, str, str | None]:
    try:
        parsed = read_object(body)
    except MalformedReply:  # a proxy's page: its beginning is the best message there is
        return None, shown(body), None
    error = parsed.get("error")
    if not isinstance(error, dict):
        return None, shown(body), None
    code, param = error.get("code"), error.get("param")
    return (
        code if isinstance(code, str) else None,
        str(error.get("message", "")),
        param if isinstance(param, str) else None,
    )


def _read_retry_after(header: str) -> float | None:
    """Whole seconds, as the server sends them; a date, as a proxy may, would need a wall clock: ignored."""
    header = header.strip()
    return float(header) if header.isascii() and header.isdigit() and len(header) < 10 else None

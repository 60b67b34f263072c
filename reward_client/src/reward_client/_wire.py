"""Reads replies. What is not exactly what the API promises is malformed, and never becomes a number.

Pure functions of bytes; does not know what is done about a malformed reply.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import (
    Any,
    Callable,
    Generic,
    NoReturn,
    Protocol,
    TypeVar,
)

from reward_client import errors
from reward_client._exchange import Failure, Reply
from reward_client._pairs import EncodedPair
from reward_client.values import ModelInfo, PairError, Result, Tokenized, Usage


class Answer(Protocol):
    """What every kind of result has: its pair's place in the input, and maybe an error."""

    @property
    def index(self) -> int: ...

    @property
    def error(self) -> PairError | None: ...


R = TypeVar("R", bound=Answer)

RETRIED_STATUSES = frozenset({500, 502, 503, 504})
"""Statuses that a restart or an emptier queue cures.

The body's `retryable` is not asked: an unexpected 500 says false, yet one lost worker should not end a training
run that `retry_for_s` would have saved.
"""

_REFUSALS: dict[int, type[errors.RequestRefused]] = {
    401: errors.Unauthorized,
    404: errors.UnknownModel,
    412: errors.FingerprintMismatch,
    413: errors.TooLarge,
}
_RESULT_FIELDS = frozenset(each.name for each in fields(Result)) - {"details"}
_TOKENIZED_FIELDS = frozenset(each.name for each in fields(Tokenized)) - {"details"}
_MODEL_FIELDS = frozenset(each.name for each in fields(ModelInfo)) - {"details"}
_SHOWN_BYTES = 200
"""How much of an unreadable body goes into an error message."""


class MalformedReply(Exception):
    """The reply is not what the API promises; the message says how."""


@dataclass(frozen=True)
class Endpoint(Generic[R]):
    """A route that takes pairs: how one result is read, and what stands for a pair that has none."""

    path: str
    read: Callable[[Mapping[str, Any], EncodedPair], R]
    fail: Callable[[EncodedPair, PairError], R]
    has_fingerprint: bool


@dataclass(frozen=True)
class Envelope:
    """What a reply says besides its results."""

    model: str = ""
    fingerprint: str = ""
    usage: Usage = field(default_factory=Usage)


def read_json(data: bytes) -> Any:
    """Returns the parsed JSON.

    Raises:
        MalformedReply: if it is cut short, or holds NaN or Infinity, or is no JSON at all.
    """
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedReply(f"not JSON ({error}): {_shown(data)}") from error


def read_object(data: bytes) -> Mapping[str, Any]:
    """As `read_json`, and refuses everything but an object."""
    parsed = read_json(data)
    if not isinstance(parsed, dict):
        raise MalformedReply(f"not a JSON object: {_shown(data)}")
    return parsed


def read_results(body: Mapping[str, Any], pairs: Sequence[EncodedPair], endpoint: Endpoint[R]) -> list[tuple[int, R]]:
    """Returns one (place in the request, result) for each of `pairs`.

    Raises:
        MalformedReply: if any is missing, doubled or not readable.
    """
    raw_results = body.get("results")
    if not isinstance(raw_results, list) or len(raw_results) != len(pairs):
        found = len(raw_results) if isinstance(raw_results, list) else "no"
        raise MalformedReply(f"{found} results for {len(pairs)} pairs")
    placed = [read_placed(raw, pairs, endpoint) for raw in raw_results]
    if len({place for place, _ in placed}) != len(pairs):
        raise MalformedReply("two results have the same index")
    return placed


def read_placed(raw: Any, pairs: Sequence[EncodedPair], endpoint: Endpoint[R]) -> tuple[int, R]:
    """Returns one result and its place in the request, checked against the pair that was sent there."""
    if not isinstance(raw, dict):
        raise MalformedReply(f"a result is not an object: {raw!r:.200}")
    place = raw.get("index")
    if type(place) is not int or not 0 <= place < len(pairs):
        raise MalformedReply(f"a result has the index {place!r}; {len(pairs)} pairs were sent")
    pair = pairs[place]
    if raw.get("id") != pair.id:
        raise MalformedReply(f"result {place} has the id {raw.get('id')!r}; {pair.id!r} was sent")
    return place, endpoint.read(raw, pair)


def read_envelope(body: Mapping[str, Any], *, has_fingerprint: bool) -> Envelope:
    """Returns model, fingerprint and usage; with `has_fingerprint`, a reply without one is malformed."""
    fingerprint = body.get("fingerprint")
    if has_fingerprint and not (isinstance(fingerprint, str) and fingerprint):
        raise MalformedReply("the reply names no fingerprint")
    model = body.get("model")
    return Envelope(
        model=model if isinstance(model, str) else "",
        fingerprint=fingerprint if isinstance(fingerprint, str) else "",
        usage=_read_usage(body.get("usage")),
    )


def read_models(body: Any) -> tuple[ModelInfo, ...]:
    """Returns the models of `GET /v1/models`."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(raw, dict) and "id" in raw for raw in data):
        raise MalformedReply("the model list has no `data`, or an entry without `id`")
    return tuple(
        ModelInfo(
            **{name: raw.get(name) for name in _MODEL_FIELDS},
            details={name: value for name, value in raw.items() if name not in _MODEL_FIELDS},
        )
        for raw in data
    )


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


def _read_result(raw: Mapping[str, Any], pair: EncodedPair) -> Result:
    if (raw.get("score") is None) == (raw.get("error") is None):
        raise MalformedReply(f"result {raw['index']} has not exactly one of score and error")
    if raw.get("error") is not None:
        return _fail_result(pair, read_pair_error(raw["error"]))
    return Result(
        index=pair.index,
        id=pair.id,
        score=_number(raw["score"]),
        prompt_tokens=_maybe_count(raw.get("prompt_tokens")),
        response_tokens=_maybe_count(raw.get("response_tokens")),
        truncated_tokens=_maybe_count(raw.get("truncated_tokens")),
        ended=raw["ended"] if isinstance(raw.get("ended"), bool) else None,
        objectives=_numbers_by_name(raw.get("objectives")),
        members=_numbers_by_name(raw.get("members")),
        steps=tuple(_number(step) for step in _listed(raw.get("steps"))),
        details={name: value for name, value in raw.items() if name not in _RESULT_FIELDS},
    )


def _read_tokenized(raw: Mapping[str, Any], pair: EncodedPair) -> Tokenized:
    if (raw.get("ids") is None) == (raw.get("error") is None):
        raise MalformedReply(f"result {raw['index']} has not exactly one of ids and error")
    if raw.get("error") is not None:
        return _fail_tokenized(pair, read_pair_error(raw["error"]))
    rendered = raw.get("rendered")
    return Tokenized(
        index=pair.index,
        id=pair.id,
        rendered=rendered if isinstance(rendered, str) else None,
        ids=tuple(_count(token_id) for token_id in _listed(raw["ids"])),
        cuts=tuple(_count(cut) for cut in _listed(raw.get("cuts"))),
        prompt_tokens=_maybe_count(raw.get("prompt_tokens")),
        response_tokens=_maybe_count(raw.get("response_tokens")),
        truncated_tokens=_maybe_count(raw.get("truncated_tokens")),
        details={name: value for name, value in raw.items() if name not in _TOKENIZED_FIELDS},
    )


def _fail_result(pair: EncodedPair, error: PairError) -> Result:
    return Result(index=pair.index, id=pair.id, error=error)


def _fail_tokenized(pair: EncodedPair, error: PairError) -> Tokenized:
    return Tokenized(index=pair.index, id=pair.id, error=error)


SCORE: Endpoint[Result] = Endpoint("/v1/score", _read_result, _fail_result, has_fingerprint=True)
TOKENIZE: Endpoint[Tokenized] = Endpoint("/v1/tokenize", _read_tokenized, _fail_tokenized, has_fingerprint=False)


def _number(raw: Any) -> float:
    if type(raw) is float and math.isfinite(raw):
        return raw
    if type(raw) is int and abs(raw) <= 2**53:  # more would not be the double that the server meant
        return float(raw)
    raise MalformedReply(f"not a finite number: {raw!r:.200}")


def _count(raw: Any) -> int:
    if type(raw) is not int or raw < 0:
        raise MalformedReply(f"not a count: {raw!r:.200}")
    return raw


def _maybe_count(raw: Any) -> int | None:
    return None if raw is None else _count(raw)


def _listed(raw: Any) -> list[Any]:
    if raw is not None and not isinstance(raw, list):
        raise MalformedReply(f"not a list: {raw!r:.200}")
    return raw or []


def _numbers_by_name(raw: Any) -> dict[str, float]:
    if raw is not None and not isinstance(raw, dict):
        raise MalformedReply(f"not an object: {raw!r:.200}")
    return {name: _number(value) for name, value in (raw or {}).items()}


def _read_usage(raw: Any) -> Usage:
    counts = raw if isinstance(raw, dict) else {}
    return Usage(
        tokens=_maybe_count(counts.get("tokens")) or 0,
        computed_tokens=_maybe_count(counts.get("computed_tokens")) or 0,
        reused_tokens=_maybe_count(counts.get("reused_tokens")) or 0,
        deduplicated_pairs=_maybe_count(counts.get("deduplicated_pairs")) or 0,
    )


def _read_error_body(body: bytes) -> tuple[str | None, str, str | None]:
    try:
        parsed = read_object(body)
    except MalformedReply:  # a proxy's page: its beginning is the best message there is
        return None, _shown(body), None
    error = parsed.get("error")
    if not isinstance(error, dict):
        return None, _shown(body), None
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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _shown(data: bytes) -> str:
    text = data[:_SHOWN_BYTES].decode("utf-8", "replace").strip()
    return (text or "an empty body") + ("…" if len(data) > _SHOWN_BYTES else "")

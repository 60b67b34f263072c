"""Reads replies. What is not exactly what the API promises is malformed, and never becomes a number.

Pure functions of bytes; does not know what is done about a malformed reply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import (
    Any,
    Callable,
    Generic,
    Protocol,
    TypeVar,
)

from reward_client._failures import read_pair_error
from reward_client._json import MalformedReply, read_object
from reward_client._pairs import EncodedPair
from reward_client.values import ModelInfo, PairError, Result, Tokenized, Usage


class Answer(Protocol):
    """What every kind of result has: its pair's place in the input, and maybe an error."""

    @property
    def index(self) -> int: ...

    @property
    def error(self) -> PairError | None: ...


R = TypeVar("R", bound=Answer)

_RESULT_FIELDS = frozenset(each.name for each in fields(Result)) - {"details"}
_TOKENIZED_FIELDS = frozenset(each.name for each in fields(Tokenized)) - {"details"}
_MODEL_FIELDS = frozenset(each.name for each in fields(ModelInfo)) - {"details"}


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


def read_rewards(reply: bytes, num_texts: int) -> list[float]:
    """Returns the rewards of a reply of `POST /get_reward`, one for each text."""
    rewards = read_object(reply).get("rewards")
    if not isinstance(rewards, list) or len(rewards) != num_texts:
        found = len(rewards) if isinstance(rewards, list) else "no"
        raise MalformedReply(f"{found} rewards for {num_texts} texts")
    return [_number(reward) for reward in rewards]


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

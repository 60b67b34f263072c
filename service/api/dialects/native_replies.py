"""Replies of the native dialect: from outcomes to JSON-ready values, field for field as `docs/api.md` has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from service.api.dialects.native_bodies import PairBody, RankBody
from service.api.error_mapping import item_error
from service.errors import EngineFailure, InvalidInput
from service.scoring.ordering import margin, rank_order
from service.types import EncodedPair, GoldenCheck, ModelCard, PairOutcome, Reward, Timings

Json = dict[str, object]


def identity(card: ModelCard) -> Json:
    """What every reply says of who answered."""
    return {"model": card.model_id, "fingerprint": card.fingerprint}


def score_reply(outcomes: Sequence[PairOutcome], pairs: Sequence[PairBody], card: ModelCard, explain: bool) -> Json:
    """The body of `/v1/score`; `outcomes` are in input order."""
    results = [score_result(outcome, pairs[outcome.index], card, explain) for outcome in outcomes]
    return {**identity(card), "results": results, **totals(outcomes)}


def score_result(outcome: PairOutcome, pair: PairBody, card: ModelCard, explain: bool) -> Json:
    """One pair's result: a score or an error."""
    result: Json = {"index": outcome.index, "id": pair.id}
    if outcome.reward is None:
        error = outcome.error or EngineFailure("the engine gave no score")
        return {**result, "error": item_error(error)}
    result["score"] = outcome.reward.score
    if outcome.encoded is not None:
        result |= _token_counts(outcome.encoded)
        result["ended"] = outcome.encoded.ended
    result |= _further_values(outcome.reward, card)
    if explain and outcome.encoded is not None:
        result |= explanation(outcome.encoded)
        result["token_values"] = list(outcome.reward.token_values)
    return result


def totals(outcomes: Sequence[PairOutcome]) -> Json:
    """Usage and timings of a request.

    `tokens` counts those of scored pairs; the other counts include what failed pairs cost. Each of `timings_ms` is
    the largest of the request's pairs in that phase: phases of different pairs overlap, so sums would mean nothing.
    """
    scored = [outcome.encoded for outcome in outcomes if outcome.reward is not None and outcome.encoded is not None]
    return {
        "usage": {
            "tokens": sum(encoded.prompt_tokens + encoded.response_tokens for encoded in scored),
            "computed_tokens": sum(outcome.computed_tokens for outcome in outcomes),
            "reused_tokens": sum(outcome.reused_tokens for outcome in outcomes),
            "deduplicated_pairs": sum(outcome.is_duplicate for outcome in outcomes),
        },
        "timings_ms": _slowest_ms([outcome.timings for outcome in outcomes]),
    }


def rank_reply(outcomes: Sequence[PairOutcome], body: RankBody, card: ModelCard) -> Json:
    """The body of `/v1/rank`: failed responses are listed, never ranked; `best` and `margin` are over all."""
    scored = [(outcome.index, outcome.reward.score) for outcome in outcomes if outcome.reward is not None]
    scores = [score for _, score in scored]
    ranked = [scored[place] for place in rank_order(scores)]
    results: list[Json] = []
    for rank, (index, score) in enumerate(ranked[: body.top_n], start=1):
        text: Json = {"response": body.responses[index]} if body.return_responses else {}
        results.append({"index": index, "rank": rank, "score": score, **text})
    errors = [{"index": outcome.index, "error": item_error(outcome.error)} for outcome in outcomes if outcome.error]
    best = ranked[0][0] if ranked else None
    verdict = {"results": results, "best": best, "margin": margin(scores), "errors": errors}
    return {**identity(card), **verdict, **totals(outcomes)}


def tokenize_reply(encoded: Sequence[EncodedPair | InvalidInput], pairs: Sequence[PairBody], card: ModelCard) -> Json:
    """The body of `/v1/tokenize`: what would be read, without reading it."""
    results: list[Json] = []
    for index, (pair, item) in enumerate(zip(pairs, encoded, strict=True)):
        head: Json = {"index": index, "id": pair.id}
        if isinstance(item, InvalidInput):
            results.append({**head, "error": item_error(item)})
        else:
            results.append({**head, **explanation(item), **_token_counts(item), "ended": item.ended})
    return {**identity(card), "results": results}


def explanation(encoded: EncodedPair) -> Json:
    """Everything the engine reads of a pair."""
    probe = encoded.probe
    return {
        "rendered": encoded.rendered,
        "ids": encoded.ids,
        "cuts": encoded.cuts,
        "read_positions": encoded.reads,
        "probe": None if probe is None else {"token_id": probe.token_id, "position": probe.position},
    }


def verify_reply(checks: Sequence[GoldenCheck], card: ModelCard) -> Json:
    """The body of `/v1/verify`."""
    shown = [_check(check) for check in checks]
    return {**identity(card), "ok": all(check.is_ok for check in checks), "checks": shown}


def model_entry(card: ModelCard) -> Json:
    """One model in OpenAI's shape, with what a caller of a reward model wants to know beside it."""
    return {
        "id": card.model_id,
        "object": "model",
        "created": card.created_s,
        "owned_by": "reward-server",
        "fingerprint": card.fingerprint,
        "max_tokens": card.max_tokens,
        "max_model_len": card.max_tokens,
        "head": card.head,
        "readout": card.readout,
        "objectives": list(card.engine.objectives),
        "aliases": list(card.aliases),
        "verified": card.is_verified,
    }


def _token_counts(encoded: EncodedPair) -> Json:
    return {
        "prompt_tokens": encoded.prompt_tokens,
        "response_tokens": encoded.response_tokens,
        "truncated_tokens": encoded.truncated_tokens,
    }


def _further_values(reward: Reward, card: ModelCard) -> Json:
    values: Json = {}
    if reward.objectives:
        values["objectives"] = dict(zip(card.engine.objectives, reward.objectives, strict=True))
    if reward.steps:
        values["steps"] = list(reward.steps)
    return values


def _slowest_ms(timings: Sequence[Timings]) -> Json:
    return {
        "tokenize": max((timing.tokenize_s for timing in timings), default=0.0) * 1000,
        "queue": max((timing.queue_s for timing in timings), default=0.0) * 1000,
        "compute": max((timing.compute_s for timing in timings), default=0.0) * 1000,
    }


def _check(check: GoldenCheck) -> Json:
    actual = check.actual if check.actual is not None and math.isfinite(check.actual) else None
    return {
        "name": check.name,
        "expected": check.expected,
        "actual": actual,
        "difference": None if actual is None else actual - check.expected,
        "tolerance": check.tolerance,
        "ok": check.is_ok,
        "error": check.error,
    }

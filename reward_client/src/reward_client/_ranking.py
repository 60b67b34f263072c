"""From scores to places: best first, equal scores in the input's order, failed responses nowhere.

The order is made here and not by `POST /v1/rank`, so that a ranking has what a score has: any number of
responses, single pairs tried again, one fingerprint. The rule is the server's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from reward_client import errors
from reward_client.values import RankedResponse, RankReply, ScoreReply


def ranked(reply: ScoreReply, responses: Sequence[str], top_n: int | None) -> RankReply:
    """Returns the responses that have a score, best first."""
    scored = [(result.score, result.index) for result in reply.results if result.score is not None]
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    results = tuple(
        RankedResponse(index, rank, score, responses[index]) for rank, (score, index) in enumerate(scored, start=1)
    )
    return RankReply(
        results=results[:top_n],
        best=results[0].index if results else None,
        margin=scored[0][0] - scored[1][0] if len(scored) > 1 else None,
        errors=reply.failed,
        model=reply.model,
        fingerprint=reply.fingerprint,
        usage=reply.usage,
    )


def after_failure(
    error: errors.RewardServerError, responses: Sequence[str], top_n: int | None, on_failure: str
) -> RankReply:
    """Returns what can be said although scoring raised `error`, or raises it.

    Some scores are enough for a ranking of those. No score at all is an error, or, with `original_order` and
    a failure that may pass, the input's order marked as degraded.
    """
    reply = error.reply if isinstance(error, errors.PairFailed) else None
    if reply is not None and len(reply.failed) < len(reply.results):
        return ranked(reply, responses, top_n)
    if on_failure != "original_order" or not error.retryable:
        raise error
    results = tuple(RankedResponse(index, index + 1, None, response) for index, response in enumerate(responses))
    return RankReply(results[:top_n], best=results[0].index if results else None, degraded=True)

"""Everything a call can raise, as one small tree.

    RewardServerError
    ├── InvalidPair (also a ValueError)        the client refused the pair before sending anything
    ├── PairFailed                             the server answered; one or more pairs have no score
    ├── RequestRefused                         4xx: the same request would be refused again
    │   ├── Unauthorized                       401
    │   ├── UnknownModel                       404
    │   ├── FingerprintMismatch                412: not the weights that the caller asked for
    │   └── TooLarge                           413
    ├── FingerprintChanged                     the weights changed in the middle of one call
    ├── ServerUnavailable                      no connection, 5xx or malformed replies for `retry_for_s`
    └── DeadlineExceeded (also a TimeoutError) the call's deadline passed

All are picklable, so that they survive the way back from a worker process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_client.values import Result, ScoreReply


class RewardServerError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: The server's word for what happened, or the class's own; a contract.
        message: What was given and what is allowed.
        retryable: Whether the same call may succeed later.
        status: The HTTP status, where there was a reply.
        param: The field at fault, where the server named one.
        request_id: The `X-Request-Id` to look for in the server's log.
    """

    code: str = "reward_server_error"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        status: int | None = None,
        param: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = type(self).code if code is None else code
        self.retryable = type(self).retryable if retryable is None else retryable
        self.status = status
        self.param = param
        self.request_id = request_id


class InvalidPair(RewardServerError, ValueError):
    """The pair has not one of the allowed shapes; nothing was sent."""

    code = "invalid_pair"


class PairFailed(RewardServerError):
    """One or more pairs have no score.

    Attributes:
        failed: The results that carry an error, in input order.
        reply: The whole reply with the scores that did come; None when streaming.
    """

    code = "pair_failed"

    def __init__(self, failed: tuple[Result, ...], reply: ScoreReply | None = None) -> None:
        first = failed[0]
        error = first.error
        assert error is not None
        name = f"pair {first.index}" + (f" (id {first.id!r})" if first.id is not None else "")
        num_pairs = f" of {len(reply.results)}" if reply is not None else ""
        super().__init__(
            f"{len(failed)}{num_pairs} pair(s) have no score; first: {name}: {error.code}: {error.message}",
            code=error.code,
            retryable=all(result.error is not None and result.error.retryable for result in failed),
        )
        self.failed = failed
        self.reply = reply

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.failed, self.reply))


class RequestRefused(RewardServerError):
    """The server refused the whole request (4xx); it is never sent again."""

    code = "refused"


class Unauthorized(RequestRefused):
    """The API key is missing or wrong (401)."""

    code = "unauthorized"


class UnknownModel(RequestRefused):
    """No loaded model answers to this name, or there is no such route (404)."""

    code = "unknown_model"


class FingerprintMismatch(RequestRefused):
    """The server does not serve the fingerprint that the caller demanded (412)."""

    code = "fingerprint_mismatch"


class TooLarge(RequestRefused):
    """One request is over the server's limit (413), which the message names."""

    code = "too_large"


class FingerprintChanged(RewardServerError):
    """The server changed its weights, template or numerics within one call; scores of both do not compare."""

    code = "fingerprint_changed"


class ServerUnavailable(RewardServerError):
    """The server could not be reached, or did not answer properly, for all of `retry_for_s`."""

    code = "unreachable"
    retryable = True


class DeadlineExceeded(RewardServerError, TimeoutError):
    """The call's deadline passed before every pair had its result."""

    code = "deadline"
    retryable = True

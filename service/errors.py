"""Everything that can go wrong, as one small tree.

    RewardServiceError
    ├── InvalidInput (also a ValueError)
    │   ├── EmptyPrompt       empty_prompt
    │   ├── BadConversation   bad_conversation
    │   ├── BadText           bad_text
    │   ├── BadToken          bad_token
    │   └── TooLong           too_long
    ├── NonFinite             non_finite
    ├── OutOfMemory           out_of_memory
    ├── DeadlineExceeded      deadline
    ├── Cancelled             cancelled
    ├── EngineFailure         engine_failure
    ├── Overloaded            overloaded
    ├── ModelNotReady         not_ready
    ├── UnknownModel          unknown_model
    ├── FingerprintMismatch   fingerprint_mismatch
    ├── MalformedBody         malformed_body
    ├── BodyTooLarge          too_large
    ├── SlowBody              slow_body
    ├── Unauthorized          unauthorized
    └── SettingsError         settings (at start-up only)
        └── QuantizationRefused

Each class says its `code` (a contract with clients), a `status_hint` for HTTP, and whether trying again may
help. Messages say what was given and what is allowed. Only `api/error_mapping.py` turns them into replies.
"""

from __future__ import annotations

from typing import ClassVar


class RewardServiceError(Exception):
    """Base of all errors this project raises on purpose."""

    code: ClassVar[str] = "internal"
    status_hint: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.param))


def _rebuild(cls: type[RewardServiceError], message: str, param: str | None) -> RewardServiceError:
    return cls(message, param=param)


class InvalidInput(RewardServiceError, ValueError):
    """The pair cannot be scored as it was given; trying again gives the same answer."""

    code = "invalid"
    status_hint = 422


class EmptyPrompt(InvalidInput):
    """The prompt holds no text."""

    code = "empty_prompt"


class BadConversation(InvalidInput):
    """The message list is empty, ends in an assistant turn, or the model's template refuses it."""

    code = "bad_conversation"


class BadText(InvalidInput):
    """The text is not valid Unicode (a lone surrogate)."""

    code = "bad_text"


class BadToken(InvalidInput):
    """A token id lies outside the model's vocabulary."""

    code = "bad_token"


class TooLong(InvalidInput):
    """The pair has more tokens than the model or the server takes."""

    code = "too_long"


class NonFinite(RewardServiceError):
    """The model's output for this pair is NaN or infinite; trying again gives the same."""

    code = "non_finite"
    status_hint = 422  # verl tries 16 times and SDKs twice after a 5xx, and a score is a pure function of its pair


class OutOfMemory(RewardServiceError):
    """The device had no memory left for this pair's frame."""

    code = "out_of_memory"
    status_hint = 503
    retryable = True


class DeadlineExceeded(RewardServiceError):
    """The caller's deadline, or the server's own bound, passed before the pair was scored."""

    code = "deadline"
    status_hint = 504
    retryable = True


class Cancelled(RewardServiceError):
    """The caller went away, or the server is shutting down, before the pair was scored."""

    code = "cancelled"
    status_hint = 503
    retryable = True


class EngineFailure(RewardServiceError):
    """The forward pass raised; no score exists for the pairs of its frame."""

    code = "engine_failure"
    status_hint = 503
    retryable = True


class Overloaded(RewardServiceError):
    """The waiting line is full. `retry_after_s` is whole seconds, from the measured drain rate."""

    code = "overloaded"
    status_hint = 503
    retryable = True

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class ModelNotReady(RewardServiceError):
    """The model is still loading or warming up, or its engine thread is dead."""

    code = "not_ready"
    status_hint = 503
    retryable = True


class UnknownModel(RewardServiceError):
    """No loaded model answers to this name."""

    code = "unknown_model"
    status_hint = 404


class FingerprintMismatch(RewardServiceError):
    """The caller demands other weights, template or numerics than are being served."""

    code = "fingerprint_mismatch"
    status_hint = 412


class MalformedBody(RewardServiceError):
    """The request's body is not JSON in UTF-8, or holds NaN or Infinity, which JSON does not have."""

    code = "malformed_body"
    status_hint = 400


class BodyTooLarge(RewardServiceError):
    """The request's body or number of pairs is over the server's limit."""

    code = "too_large"
    status_hint = 413


class SlowBody(RewardServiceError):
    """The request's body did not arrive whole within the server's bound on a request."""

    code = "slow_body"
    status_hint = 408
    retryable = True


class Unauthorized(RewardServiceError):
    """The API key is missing or wrong."""

    code = "unauthorized"
    status_hint = 401


class SettingsError(RewardServiceError):
    """A setting is out of range; the message names it and what is allowed. Raised at start-up only."""

    code = "settings"


class QuantizationRefused(SettingsError):
    """Quantized weights give scores too unlike the unquantized ones; the message has both figures and their bounds."""

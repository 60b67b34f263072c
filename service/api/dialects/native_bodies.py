"""Bodies of the native dialect and their translation into plain values.

Strict: an unknown field, a number where text belongs, or a pair in no form or in two is a 422 that names it.
What a text or an id means is not checked here; that is the model's business and an error of that one pair.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from service.types import (
    Conversation,
    Fingerprint,
    Message,
    PairInput,
    Priority,
    RenderedText,
    ScoreOptions,
    TokenIds,
    Truncation,
)

MAX_DEADLINE_MS: Final = 86_400_000
"""A day: long enough for any caller, short enough to be a number of seconds everywhere."""

FORMS: Final = "prompt + response, prompt_ids + response_ids, or rendered"

PROMPT_WORDS: Final = "Text (one user turn), or a list of messages that does not end in an assistant turn."


class Body(BaseModel):
    """Settings all native bodies share."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MessageBody(Body):
    """One turn of a conversation."""

    role: str = Field(description="`system`, `user` or `assistant`, as the model's template knows them.")
    content: str = Field(description="The turn's text.")


def _prompt_form(value: Any) -> str:
    return "<messages>" if isinstance(value, list) else "<text>"


Prompt = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[MessageBody], Tag("<messages>")],
    Discriminator(_prompt_form),
    Field(description=PROMPT_WORDS),
]


class PairBody(Body):
    """One pair, in exactly one of three forms."""

    id: str | None = Field(None, description="The caller's own name for the pair; comes back as it is.")
    prompt: Prompt | None = Field(None, description=PROMPT_WORDS)
    response: str | None = Field(None, description="The assistant turn that follows the prompt. May be empty.")
    prompt_ids: list[int] | None = Field(None, description="Token ids, taken verbatim: nothing is added.")
    response_ids: list[int] | None = Field(None, description="Token ids of the response. May be empty.")
    rendered: str | None = Field(None, description="A whole conversation already in the model's own template.")

    @model_validator(mode="after")
    def _has_exactly_one_form(self) -> PairBody:
        given = [name for name in FORM_FIELDS if getattr(self, name) is not None]
        if given not in (["prompt", "response"], ["prompt_ids", "response_ids"], ["rendered"]):
            raise ValueError(f"given {' + '.join(given) or 'none'}; allowed: exactly one of {FORMS}")
        return self

    def to_pair(self) -> PairInput:
        """Translates; the validator has seen to it that exactly one form is there."""
        if self.rendered is not None:
            return RenderedText(self.rendered)
        if self.prompt_ids is not None:
            return TokenIds(tuple(self.prompt_ids), tuple(self.response_ids or ()))
        return conversation(self.prompt or "", self.response or "")


FORM_FIELDS: Final = ("prompt", "response", "prompt_ids", "response_ids", "rendered")


class RequestBody(Body):
    """What `/v1/score` and `/v1/rank` share."""

    model: str | None = Field(None, description="A loaded model's name or alias; null is the default model.")
    truncation: Annotated[Truncation, Field(strict=False)] = Field(
        Truncation.ERROR, description="What to do with a pair that is too long; never silent: see truncated_tokens."
    )
    deadline_ms: int | None = Field(
        None, ge=1, le=MAX_DEADLINE_MS, description="Bounds the whole call; null leaves the server's own bound."
    )
    priority: Annotated[Priority, Field(strict=False)] = Field(
        Priority.INTERACTIVE, description="Which queue class the pairs wait in; ageing keeps either from starving."
    )
    fingerprint: str | None = Field(None, description="Demand these exact weights, template and numerics, else 412.")
    normalize: str | None = Field(None, description="A calibration artefact of the model. No model has one yet.")

    def demanded(self) -> Fingerprint | None:
        """The fingerprint the caller demands, if any."""
        return None if self.fingerprint is None else Fingerprint(self.fingerprint)

    def to_options(self, *, explain: bool = False) -> ScoreOptions:
        """Translates what concerns the whole call."""
        return ScoreOptions(
            truncation=self.truncation,
            priority=self.priority,
            deadline_s=None if self.deadline_ms is None else self.deadline_ms / 1000,
            explain=explain,
        )


class ScoreBody(RequestBody):
    """POST /v1/score and POST /v1/tokenize."""

    pairs: list[PairBody] = Field(description="What to score, each pair in one of its three forms. May be empty.")
    explain: bool = Field(False, description="Add what was read: text, ids, cuts, positions, per-token values.")

    def to_pairs(self) -> list[PairInput]:
        """Translates all pairs, in order."""
        return [pair.to_pair() for pair in self.pairs]


class RankBody(RequestBody):
    """POST /v1/rank."""

    prompt: Prompt
    responses: list[str] = Field(description="The candidates, each an assistant turn that follows the prompt.")
    top_n: int | None = Field(None, ge=1, description="How many to return; null returns all that got a score.")
    return_responses: bool = Field(False, description="Also return each response's text.")

    def to_pairs(self) -> list[PairInput]:
        """Gives one pair for each response, in order; they share the prompt's messages."""
        prompt = conversation(self.prompt, "").prompt
        return [Conversation(prompt, response) for response in self.responses]


class VerifyBody(Body):
    """POST /v1/verify; may be left out."""

    model: str | None = Field(None, description="A loaded model's name or alias; null is the default model.")


def conversation(prompt: str | list[MessageBody], response: str) -> Conversation:
    """Makes one user turn of a text, or takes the messages as they are."""
    if isinstance(prompt, str):
        return Conversation((Message("user", prompt),), response)
    return Conversation(tuple(Message(turn.role, turn.content) for turn in prompt), response)

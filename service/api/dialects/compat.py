"""What compatibility dialects share: lenient bodies, one model whatever it is called, all scores or one error."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from service.api.deps import CallerDep, RuntimeDep
from service.api.dialects.policy_templates import AS_IS, Wanted, conversation_in
from service.api.runtime import Runtime
from service.api.scoring_call import Caller, score_all
from service.errors import BadConversation, EngineFailure, InvalidInput, RewardServiceError
from service.scoring.protocol import ServedModel
from service.types import Conversation, Message, PairInput, PairOutcome, Priority, RenderedText, ScoreOptions, TokenIds

Parsed = TypeVar("Parsed", bound=BaseModel)


class LenientBody(BaseModel):
    """A body in which unknown fields are ignored, as the servers do that the dialects imitate."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Turn(LenientBody):
    """One message of a conversation."""

    role: str
    content: str


def messages_of(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The turns as plain values."""
    return tuple(Message(turn.role, turn.content) for turn in turns)


def conversation_of(turns: Sequence[Turn]) -> Conversation:
    """A prompt and the assistant's answer to it, as one list of messages.

    Raises:
        BadConversation: If the last message is not the assistant's, or nothing comes before it.
    """
    if len(turns) < 2 or turns[-1].role != "assistant":
        roles = ", ".join(turn.role for turn in turns[-3:]) or "none"
        message = f"messages end with {roles}; allowed: a prompt and then the assistant's answer as the last"
        raise BadConversation(message, param="messages")
    return Conversation(messages_of(turns[:-1]), turns[-1].content)


@dataclass(frozen=True, slots=True)
class Desk:
    """What a compatibility handler scores with."""

    runtime: Runtime
    caller: Caller

    @property
    def policy_template(self) -> Wanted:
        """The template in which rendered text comes, where the operator has said so."""
        return self.runtime.policy_template or self.runtime.settings.policy_template

    def served(self, model: str | None) -> ServedModel:
        """The model that answers to `model`: whatever it is called while one is loaded.

        Raises:
            UnknownModel: If several are loaded and none of them is called so.
        """
        return self.runtime.default_model if len(self.runtime.models) == 1 else self.runtime.find(model)

    async def scores(
        self, pairs: Sequence[PairInput], dialect: str, priority: Priority, model: str | None = None
    ) -> list[PairOutcome]:
        """One scored outcome for each pair, in order.

        Raises:
            RewardServiceError: The first pair's that has no score: these replies have no place for it.
            BodyTooLarge: If there are too many pairs.
            UnknownModel: As `served` does.
        """
        self.runtime.check_num_pairs(len(pairs))
        options = ScoreOptions(truncation=self.runtime.settings.truncation, priority=priority, dialect=dialect)
        outcomes = await score_all(self.served(model), pairs, options, self.caller)
        for outcome in outcomes:
            if outcome.reward is None:
                raise _of_item(outcome)
        return outcomes


def values(outcomes: Sequence[PairOutcome]) -> list[float]:
    """The raw scores of outcomes that all have one."""
    return [outcome.reward.score for outcome in outcomes if outcome.reward is not None]


def answer_to(prompt: str, response: str) -> Conversation:
    """One user turn and the response to it."""
    return Conversation((Message("user", prompt),), response)


def policy_pair(text: str, policy_template: Wanted) -> tuple[PairInput, bool | None] | None:
    """A whole conversation as one text, and whether its answer ended, where its template tells; None if it is plain.

    Raises:
        BadConversation, InvalidInput: As `conversation_in` does.
    """
    parsed = conversation_in(text, policy_template)
    if parsed is not None:
        return parsed.conversation, parsed.ended
    return (RenderedText(text), None) if policy_template == AS_IS else None


def whole_text(text: str, policy_template: Wanted) -> PairInput:
    """A model's whole input as one text: taken apart if it is in a known template, else taken as it is."""
    found = policy_pair(text, policy_template)
    return RenderedText(text) if found is None else found[0]


def whole_ids(ids: Sequence[int]) -> TokenIds:
    """A model's whole input as ids; where the response begins changes no score (where it does, encoding refuses)."""
    return TokenIds(tuple(ids[:-1]), tuple(ids[-1:]))


def sigmoid(score: float) -> float:
    """The fp32 logistic function of a raw score, as the double that equals it.

    >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    power = math.exp(-min(abs(score), 700.0))  # of whichever sign cannot overflow
    exact = (1.0 if score >= 0 else power) / (1.0 + power)
    rounded: float = struct.unpack("<f", struct.pack("<f", exact))[0]
    return rounded


def parse_body(kind: type[Parsed], body: object) -> Parsed:
    """Reads a body whose kind was told by its keys.

    Raises:
        RequestValidationError: As FastAPI does for a body it reads itself.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        details = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors()]
        raise RequestValidationError(details) from error


def refuse_unhonoured(body: BaseModel, *names: str) -> None:
    """Refuses fields that would change the score and are not honoured.

    Raises:
        InvalidInput: If one of them is given.
    """
    for name in names:
        given = getattr(body, name)
        if given is not None:
            raise InvalidInput(f"{name} is {given!a}; allowed: leave it out, it is not honoured here", param=name)


def transformed(is_raw: bool) -> dict[str, str]:
    """The header that says what was done to the raw scores."""
    return {"X-Score-Transform": "raw" if is_raw else "sigmoid"}


def shown(outcomes: Sequence[PairOutcome], *, is_raw: bool) -> list[float]:
    """The scores as a reply shows them: raw, or their sigmoid."""
    return values(outcomes) if is_raw else [sigmoid(value) for value in values(outcomes)]


def num_tokens(outcomes: Sequence[PairOutcome]) -> int:
    """Tokens read for all of them, for `usage`."""
    return sum(len(outcome.encoded.ids) for outcome in outcomes if outcome.encoded)


def _of_item(outcome: PairOutcome) -> RewardServiceError:
    """The same error, saying which item it is about."""
    error = outcome.error or EngineFailure("the engine gave no score")
    return type(error)(f"item {outcome.index}: {error.message}", param=error.param)


async def get_desk(runtime: RuntimeDep, caller: CallerDep) -> Desk:
    """FastAPI's way to a desk."""
    return Desk(runtime, caller)


DeskDep = Annotated[Desk, Depends(get_desk)]

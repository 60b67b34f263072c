"""What compatibility dialects share: lenient bodies, one model whatever it is called, all scores or one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel, ConfigDict

from service.api.deps import CallerDep, RuntimeDep
from service.api.runtime import Runtime
from service.api.scoring_call import Caller, score_all
from service.errors import BodyTooLarge, EngineFailure, RewardServiceError
from service.types import PairInput, PairOutcome, Priority, ScoreOptions


class LenientBody(BaseModel):
    """A body in which unknown fields are ignored, as the servers do that the dialects imitate."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True, slots=True)
class Desk:
    """What a compatibility handler scores with."""

    runtime: Runtime
    caller: Caller

    @property
    def policy_template(self) -> str | None:
        """The template in which rendered text comes, where the operator has said so."""
        return self.runtime.settings.policy_template

    async def scores(
        self, pairs: Sequence[PairInput], dialect: str, priority: Priority, model: str | None = None
    ) -> list[PairOutcome]:
        """One scored outcome for each pair, in order.

        Raises:
            RewardServiceError: The first pair's that has no score: these replies have no place for it.
            BodyTooLarge: If there are too many pairs.
        """
        limit = self.runtime.settings.max_pairs_per_request
        if len(pairs) > limit:
            raise BodyTooLarge(f"the request has {len(pairs)} pairs; allowed: {limit} (max_pairs_per_request)")
        served = self.runtime.default_model if len(self.runtime.models) == 1 else self.runtime.find(model)
        options = ScoreOptions(truncation=self.runtime.settings.truncation, priority=priority, dialect=dialect)
        outcomes = await score_all(served, pairs, options, self.caller)
        for outcome in outcomes:
            if outcome.reward is None:
                raise _of_item(outcome)
        return outcomes


def values(outcomes: Sequence[PairOutcome]) -> list[float]:
    """The raw scores of outcomes that all have one."""
    return [outcome.reward.score for outcome in outcomes if outcome.reward is not None]


def _of_item(outcome: PairOutcome) -> RewardServiceError:
    """The same error, saying which item it is about."""
    error = outcome.error or EngineFailure("the engine gave no score")
    return type(error)(f"item {outcome.index}: {error.message}", param=error.param)


async def get_desk(runtime: RuntimeDep, caller: CallerDep) -> Desk:
    """FastAPI's way to a desk."""
    return Desk(runtime, caller)


DeskDep = Annotated[Desk, Depends(get_desk)]

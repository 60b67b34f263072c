"""A ranking: one conversation and its candidate answers, best first, ties allowed.

The value that generator, files, training and evaluation pass to each other. Plain Python, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.types import Message

__all__ = ["Ranking"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """One prompt with K answers from best to worst.

    Attributes:
        messages: The conversation up to and including the user's last turn.
        answers: K candidate answers, best first.
        tiers: For each answer its rank, ascending; equal numbers are ties.
        kind: What sort of question it is, or empty where nobody said.
        defects: For each answer the name of what is wrong with it, empty where nobody said.
    """

    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    tiers: tuple[int, ...]
    kind: str = ""
    defects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.answers) < 2 or len(self.answers) != len(self.tiers):
            raise ValueError(
                f"a ranking needs two or more answers and a tier for each, "
                f"got {len(self.answers)} answers and {len(self.tiers)} tiers"
            )
        if list(self.tiers) != sorted(self.tiers):
            raise ValueError(f"answers must come best first (tiers ascending), got tiers {self.tiers}")
        if self.defects and len(self.defects) != len(self.answers):
            raise ValueError(f"{len(self.defects)} defects given for {len(self.answers)} answers")

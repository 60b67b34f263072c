"""Pairwise accuracy of a checkpoint: `python -m training.evaluate FOLDER --data FILE.jsonl --held-out 500`.

A pair counts where one answer was strictly preferred to the other; it is a hit if the preferred one has the
higher reward, half a hit if both have the same. Beside it stands what length alone would reach, taking the
better of "longer wins" and "shorter wins". Broken down by question kind, and by the defect of the worse
answer where the better one has none. Knows nothing of training.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from training.batches import encode, rewards_of
from training.demo_data.generator import generate
from training.demo_data.lexicon import Split
from training.nectar import read_rankings
from training.rankings import Ranking
from training.train import load_folder

__all__ = ["Accuracy", "Report", "evaluate", "main", "scorer_of"]

Scorer = Callable[[Ranking], Sequence[float] | None]
"""Gives one reward for each answer, or None for a ranking that does not fit the model."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of hits with its 95 % interval.

    The pairs of one ranking are not independent, so the interval comes from the spread between rankings:
    the standard error of a ratio of sums (Cochran, "Sampling Techniques", section 6.3).
    """

    accuracy: float
    low: float
    high: float
    num_pairs: int

    @classmethod
    def of(cls, tallies: Sequence[tuple[float, int]]) -> Accuracy:
        """Compute it from (hits, pairs) of each ranking; NaN where there is no pair."""
        num_pairs = sum(pairs for _, pairs in tallies)
        if not num_pairs:
            return cls(math.nan, math.nan, math.nan, 0)
        share = sum(hits for hits, _ in tallies) / num_pairs
        num_used = sum(1 for _, pairs in tallies if pairs)
        spread = sum((hits - share * pairs) ** 2 for hits, pairs in tallies)
        error = math.sqrt(spread * num_used / max(1, num_used - 1)) / num_pairs
        return cls(share, max(0.0, share - 1.96 * error), min(1.0, share + 1.96 * error), num_pairs)


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found.

    Attributes:
        num_rankings: Rankings scored.
        num_too_long: Rankings left out because a row has more tokens than the model takes.
        overall: All strictly ordered pairs.
        length_only: The better of "longer wins" and "shorter wins" on the same pairs, in characters.
        by_kind: Accuracy for each question kind.
        by_defect: Accuracy of a sound answer against each defect.
    """

    num_rankings: int
    num_too_long: int
    overall: Accuracy
    length_only: float
    by_kind: dict[str, Accuracy]
    by_defect: dict[str, Accuracy]

    def as_dict(self) -> dict[str, object]:
        """Give plain values for JSON, rounded to four digits."""
        rounded: dict[str, object] = json.loads(json.dumps(asdict(self)), parse_float=lambda x: round(float(x), 4))
        return rounded


@dataclass(slots=True)
class _Tally:
    """Hits and pairs of each ranking, for one breakdown."""

    rows: list[tuple[float, int]] = field(default_factory=list)

    def add(self, values: Sequence[float], pairs: Sequence[tuple[int, int]]) -> None:
        hits = sum((values[i] > values[j]) + 0.5 * (values[i] == values[j]) for i, j in pairs)
        self.rows.append((hits, len(pairs)))


def evaluate(score: Scorer, rankings: Iterable[Ranking]) -> Report:
    """Score rankings and count.

    Args:
        score: Gives the rewards of a ranking.
        rankings: What to score; ties count for nothing.

    Returns:
        The report; accuracies are shares of strictly ordered pairs.
    """
    overall, length = _Tally(), _Tally()
    num_too_long = 0
    by_kind: dict[str, _Tally] = {}
    by_defect: dict[str, _Tally] = {}
    for ranking in rankings:
        rewards, pairs = score(ranking), _ordered_pairs(ranking)
        if rewards is None:
            num_too_long += 1
            continue
        overall.add(rewards, pairs)
        length.add([float(len(answer)) for answer in ranking.answers], pairs)
        if ranking.kind:
            by_kind.setdefault(ranking.kind, _Tally()).add(rewards, pairs)
        for defect in sorted(set(ranking.defects)):
            against = [(i, j) for i, j in pairs if ranking.defects[i] == "none" and ranking.defects[j] == defect]
            if against:
                by_defect.setdefault(defect, _Tally()).add(rewards, against)
    longer_wins = Accuracy.of(length.rows).accuracy
    return Report(
        num_rankings=len(overall.rows),
        num_too_long=num_too_long,
        overall=Accuracy.of(overall.rows),
        length_only=max(longer_wins, 1 - longer_wins),
        by_kind={kind: Accuracy.of(tally.rows) for kind, tally in sorted(by_kind.items())},
        by_defect={defect: Accuracy.of(tally.rows) for defect, tally in sorted(by_defect.items())},
    )


def _ordered_pairs(ranking: Ranking) -> list[tuple[int, int]]:
    """Give all (better, worse) positions; ties are left out."""
    positions = range(len(ranking.answers))
    return [(i, j) for i in positions for j in positions if ranking.tiers[i] < ranking.tiers[j]]


def scorer_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Scorer:
    """Make a scorer of a model."""
    max_tokens = int(model.config.max_position_embeddings)

    def score(ranking: Ranking) -> Sequence[float] | None:
        encoded = encode(tokenizer, [ranking], max_tokens)
        if not encoded:
            return None
        with torch.inference_mode():
            return list(map(float, rewards_of(model, encoded[0].rows)))

    return score


def main() -> None:
    """Evaluate from the command line; prints one JSON object."""
    parser = argparse.ArgumentParser(description="Pairwise accuracy of a reward model.")
    parser.add_argument("folder", help="sequence-classification folder")
    parser.add_argument("--data", action="append", default=[], help="Nectar-style JSONL file; may be repeated")
    parser.add_argument("--held-out", type=int, default=0, help="rankings of the generator's held-out split")
    parser.add_argument("--test", type=int, default=0, help="rankings of the generator's test split")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator")
    args = parser.parse_args()
    score = scorer_of(*load_folder(args.folder))
    reports = {path: evaluate(score, read_rankings(path)).as_dict() for path in args.data}
    for split, num_rankings in ((Split.HELD_OUT, args.held_out), (Split.TEST, args.test)):
        if num_rankings:
            reports[split] = evaluate(score, generate(args.seed, split, num_rankings)).as_dict()
    print(json.dumps(reports, indent=2))


if __name__ == "__main__":
    main()

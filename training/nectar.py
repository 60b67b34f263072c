"""Nectar-style files: JSON lines with a prompt in Human/Assistant turns and ranked answers.

A row is `{"prompt": "\\n\\nHuman: …\\n\\nAssistant: ", "answers": [{"answer": …, "rank": 1}, …]}`, rank 1
best (https://huggingface.co/datasets/berkeley-nest/Nectar). Equal ranks are ties. Our own rows add `kind`
to the row and `defect` to an answer; other fields are ignored. Knows nothing of tokens or models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.types import Message
from training.rankings import Ranking

__all__ = ["format_prompt", "parse_prompt", "read_rankings", "write_rankings"]

_TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_NAMES = {role: name for name, role in _ROLES.items()}


def parse_prompt(text: str) -> list[tuple[str, str]]:
    """Take a prompt apart at its turn markers.

    The empty assistant turn at the end, which stands for the answer to come, is left out. Contents lose
    the white space around them, as Nectar has it in some turns and not in others.

    Returns:
        (role, content) pairs; roles are `user` and `assistant`, the last one is `user`.

    Raises:
        ValueError: If the text does not start with a turn marker or does not end with a user's turn.
    """
    before, *pieces = _TURN.split(text)
    if before.strip() or not pieces:
        raise ValueError(f"a prompt starts with '\\n\\nHuman: ', this one with {text[:40]!r}")
    turns = [(_ROLES[name], content.strip()) for name, content in zip(pieces[::2], pieces[1::2], strict=True)]
    if turns[-1] == ("assistant", ""):
        turns.pop()
    if not turns or turns[-1][0] != "user":
        raise ValueError(f"a prompt ends with a Human turn and an empty Assistant turn, got {text[-40:]!r}")
    return turns


def format_prompt(messages: Iterable[Message]) -> str:
    """Write a conversation as Nectar does; the reverse of `parse_prompt`."""
    turns = [f"\n\n{_NAMES[message.role]}: {message.content}" for message in messages]
    return "".join(turns) + "\n\nAssistant: "


def read_rankings(path: str | Path) -> Iterator[Ranking]:
    """Yield the rankings of a file, answers best first; rows with fewer than two answers are skipped.

    Raises:
        ValueError: If a row is not a ranking; the message names file and line.
    """
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if len(row["answers"]) >= 2:
                    yield _ranking_of(row)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a ranking: {error!r}") from error


def _ranking_of(row: dict[str, object]) -> Ranking:
    answers = row["answers"]
    assert isinstance(answers, list)
    best_first = sorted(answers, key=lambda answer: int(answer["rank"]))
    has_defects = all("defect" in answer for answer in best_first)
    return Ranking(
        messages=tuple(Message(role, content) for role, content in parse_prompt(str(row["prompt"]))),
        answers=tuple(str(answer["answer"]) for answer in best_first),
        tiers=tuple(int(answer["rank"]) for answer in best_first),
        kind=str(row.get("kind", "")),
        defects=tuple(str(answer["defect"]) for answer in best_first) if has_defects else (),
    )


def write_rankings(path: str | Path, rankings: Iterable[Ranking]) -> None:
    """Write rankings as a Nectar-style file that `read_rankings` gives back unchanged."""
    with Path(path).open("w", encoding="utf-8") as out:
        for ranking in rankings:
            out.write(json.dumps(_row_of(ranking), ensure_ascii=False) + "\n")


def _row_of(ranking: Ranking) -> dict[str, object]:
    answers = [{"answer": answer, "rank": tier} for answer, tier in zip(ranking.answers, ranking.tiers, strict=True)]
    if ranking.defects:
        for answer, defect in zip(answers, ranking.defects, strict=True):
            answer["defect"] = defect
    row: dict[str, object] = {"prompt": format_prompt(ranking.messages), "answers": answers}
    return {**row, "kind": ranking.kind} if ranking.kind else row

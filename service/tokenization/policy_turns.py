"""Finds out how a policy's chat template writes turns, so that text in it can be taken apart into messages.

The template is rendered with stand-ins for the contents; what stands between them opens and closes the turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.errors import BadConversation
from service.types import Message

Render = Callable[[Sequence[Message]], str]
"""Writes messages out; raises `BadConversation` if it refuses them."""

STAND_INS = {"system": "7S7", "user": "7U7", "user again": "7V7", "assistant": "7A7", "assistant again": "7B7"}
"""Contents that no template writes by itself and none changes."""


@dataclass(frozen=True, slots=True)
class PolicyTurns:
    """What opens and closes each role's turn; an empty opening is the assistant's, right behind a user's turn.

    Attributes:
        lead: What stands at the very start, before the first turn and its opening; maybe empty.
        bos: The BOS at the start of `lead`; maybe empty.
        eos: The text of the token that ends an answer; maybe empty.
        has_llama2_system: Whether a system message stands in the first user's turn, between Llama 2's marks.
    """

    turns: Mapping[str, tuple[str, str]]
    lead: str
    bos: str = ""
    eos: str = ""
    has_llama2_system: bool = False


def turns_of(render: Render, bos: str = "", eos: str = "") -> PolicyTurns:
    """The turns that a template writes.

    Raises:
        ValueError: If a turn's content is changed or left out, or the texts around it are not the same in each turn.
    """
    first, user_closes, between, again, tail = _around(render, "user", "assistant", "user again", "assistant again")
    if again != user_closes or not user_closes:
        raise ValueError(f"a user's turn ends with {user_closes!r} and the next with {again!r}")
    closing = _common_start(between, tail)
    if not first.endswith(between[len(closing) :]):  # a separator between turns that does not follow the last one
        closing = between.removesuffix(_common_start(between[::-1], first[::-1])[::-1])
    opening = between[len(closing) :]
    if not (closing.startswith(tail) and first.endswith(opening)):
        raise ValueError(f"a user's turn begins with {first!r} and the next, behind {tail!r}, with {between!r}")
    lead = first.removesuffix(opening)
    bos = bos if lead.startswith(bos) else ""
    turns = {"user": (opening, user_closes), "assistant": ("", closing)}
    system = _system(render)
    if system is None:
        return PolicyTurns(turns, lead, bos, eos)
    before, after = system
    if (before, after) == (first + "<<SYS>>\n", "\n<</SYS>>\n\n"):
        return PolicyTurns(turns, lead, bos, eos, has_llama2_system=True)
    if not after.endswith(opening):
        raise ValueError(f"a system turn is followed by {after!r} instead of what opens a user's turn, {opening!r}")
    return PolicyTurns(turns | {"system": (before.removeprefix(bos), after.removesuffix(opening))}, lead, bos, eos)


def _system(render: Render) -> tuple[str, str] | None:
    """What stands before and after a system message, or None where the template takes none."""
    try:
        before, after, *_ = _around(render, "system", "user", "assistant")
    except (BadConversation, ValueError):
        return None
    return before, after


def _around(render: Render, *turns: str) -> list[str]:
    """The texts before, between and after the contents of these turns."""
    text = render([Message(turn.split(" ")[0], STAND_INS[turn]) for turn in turns])
    parts: list[str] = []
    for turn in turns:
        before, found, text = text.partition(STAND_INS[turn])
        if not found:
            raise ValueError(f"the content of the {turn} turn is not written out")
        parts.append(before)
    return [*parts, text]


def _common_start(one: str, other: str) -> str:
    """The longest text both begin with."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]

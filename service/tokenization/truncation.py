"""What is removed from a pair that is longer than the model takes: one function for each policy.

Never silent: the caller compares lengths and reports `truncated_tokens`. Works on `Sections`, never on text.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from service.errors import TooLong
from service.tokenization.sections import Sections
from service.types import Truncation


class TruncationSide(StrEnum):
    """The values of the manifest's `limits.truncation_side`; what they mean is said there."""

    LEFT = "left"
    RIGHT = "right"
    NONE = "none"


def truncate(sections: Sections, policy: Truncation, max_tokens: int, side: TruncationSide) -> Sections:
    """Shortens a pair to at most `max_tokens`, or refuses it.

    Args:
        sections: The pair; returned as it is if it fits.
        policy: What the caller wants done with longer ones.
        max_tokens: The most tokens the model takes.
        side: What the policy `model` means for this model.

    Raises:
        TooLong: If the policy refuses longer pairs, or what it must keep does not fit.
    """
    if len(sections.ids) <= max_tokens:
        return sections
    match policy:
        case Truncation.PROMPT_LEFT:
            return _cut_prompt_left(sections, max_tokens)
        case Truncation.RESPONSE_RIGHT:
            return _cut_response_right(sections, max_tokens)
        case Truncation.MODEL if side is TruncationSide.LEFT:
            return _cut_left(sections, max_tokens)
        case Truncation.MODEL if side is TruncationSide.RIGHT:
            return _cut_right(sections, max_tokens)
        case Truncation.MODEL:
            raise _too_long(sections, max_tokens, "this model's authors do not truncate")
        case Truncation.ERROR:
            raise _too_long(sections, max_tokens, 'the truncation policy is "error"')


def cuts_right(policy: Truncation, side: TruncationSide) -> bool:
    """Whether the policy shortens pairs at their end."""
    return policy is Truncation.RESPONSE_RIGHT or (policy is Truncation.MODEL and side is TruncationSide.RIGHT)


def _cut_prompt_left(sections: Sections, max_tokens: int) -> Sections:
    num_excess = len(sections.ids) - max_tokens
    num_droppable = sections.prompt_tokens - sections.num_bos - sections.header_tokens
    if num_excess > num_droppable:
        raise _too_long(sections, max_tokens, "BOS, assistant header and response alone do not fit")
    return _without(sections, sections.num_bos, num_excess)


def _cut_response_right(sections: Sections, max_tokens: int) -> Sections:
    num_excess = len(sections.ids) - max_tokens
    num_droppable = sections.response_tokens - sections.closing_tokens
    if num_excess > num_droppable:
        raise _too_long(sections, max_tokens, "the prompt and the tokens that close the response alone do not fit")
    end = len(sections.ids) - sections.closing_tokens
    return replace(sections, ids=sections.ids[: end - num_excess] + sections.ids[end:])


def _cut_left(sections: Sections, max_tokens: int) -> Sections:
    # One BOS at most: the authors' tokenizers truncate before they add theirs, so a BOS that the template
    # wrote is cut away with the rest (observed for Starling under transformers 4.35.2 and 5.23).
    num_bos = min(sections.num_bos, 1, max_tokens)
    return replace(_without(sections, num_bos, len(sections.ids) - max_tokens), num_bos=num_bos)


def _cut_right(sections: Sections, max_tokens: int) -> Sections:
    prompt_tokens = min(sections.prompt_tokens, max_tokens)
    return replace(sections, ids=sections.ids[:max_tokens], prompt_tokens=prompt_tokens, closing_tokens=0)


def _without(sections: Sections, start: int, num_dropped: int) -> Sections:
    """Removes `num_dropped` tokens from `start` on, the prompt's before the response's."""
    from_prompt = min(num_dropped, sections.prompt_tokens - start)
    return replace(
        sections,
        ids=sections.ids[:start] + sections.ids[start + num_dropped :],
        prompt_tokens=sections.prompt_tokens - from_prompt,
        header_tokens=min(sections.header_tokens, sections.prompt_tokens - from_prompt - start),
    )


def _too_long(sections: Sections, max_tokens: int, reason: str) -> TooLong:
    return TooLong(
        f"the pair has {len(sections.ids)} tokens (prompt {sections.prompt_tokens}, response "
        f"{sections.response_tokens}), this model takes at most {max_tokens}; {reason}. "
        f"Policies: {', '.join(policy.value for policy in Truncation)}"
    )

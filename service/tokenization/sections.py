"""What the tokens of one pair are for: BOS, prompt, assistant header, response, closing tokens.

Truncation, token counts and the BOS and EOS policies work on this; none of them sees text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class BosPolicy(StrEnum):
    """The values of the manifest's `template.bos`; what they mean is said there."""

    ONE = "one"
    NONE = "none"
    DOUBLE = "double"
    STRIP = "strip"
    TEMPLATE = "template"


class EosPolicy(StrEnum):
    """The values of the manifest's `template.eos`; what they mean is said there."""

    TEMPLATE = "template"
    APPEND = "append"
    NONE = "none"


NUM_BOS = {BosPolicy.ONE: 1, BosPolicy.NONE: 0, BosPolicy.DOUBLE: 2, BosPolicy.STRIP: 1}
"""How many BOS stand in front under each policy."""


@dataclass(frozen=True, slots=True)
class Sections:
    """One pair's ids and where its parts lie.

    Attributes:
        ids: All T token ids.
        prompt_tokens: Tokens before the response begins, BOS included.
        num_bos: How many of the first tokens are BOS.
        header_tokens: How many of the prompt's last tokens open the assistant's turn.
        closing_tokens: How many of the last tokens were written by the template after the response.
    """

    ids: tuple[int, ...]
    prompt_tokens: int
    num_bos: int = 0
    header_tokens: int = 0
    closing_tokens: int = 0

    @property
    def response_tokens(self) -> int:
        """Tokens from the response's first to the last, closing tokens included."""
        return len(self.ids) - self.prompt_tokens


def split_sections(
    ids: tuple[int, ...],
    prompt_tokens: int,
    *,
    bos_id: int | None,
    headers: Sequence[tuple[int, ...]],
    closings: Sequence[tuple[int, ...]],
) -> Sections:
    """Finds BOS, header and closing tokens around a known start of the response.

    Args:
        ids: All T token ids.
        prompt_tokens: How many of them come before the response.
        bos_id: The model's BOS, or None.
        headers: Id sequences that open an assistant's turn; the longest that ends the prompt counts.
        closings: Id sequences that close one; the longest that ends the response counts.
    """
    num_bos = _num_leading(ids[:prompt_tokens], bos_id)
    return Sections(
        ids,
        prompt_tokens,
        num_bos=num_bos,
        header_tokens=longest_suffix(ids[num_bos:prompt_tokens], headers),
        closing_tokens=longest_suffix(ids[prompt_tokens:], closings),
    )


def longest_suffix(ids: tuple[int, ...], endings: Collection[tuple[int, ...]]) -> int:
    """The length of the longest of `endings` that `ids` ends with, 0 if there is none."""
    longest = 0
    for ending in endings:
        length = len(ending)
        if length > longest and ids[len(ids) - length :] == ending:
            longest = length
    return longest


def apply_bos(sections: Sections, bos_id: int | None, policy: BosPolicy) -> Sections:
    """Puts as many BOS in front as the policy says, whatever stands there; a model without BOS gets none."""
    if bos_id is None or policy is BosPolicy.TEMPLATE:
        return sections
    # Counted over all ids: a text may consist of BOS and a response only.
    num_written, num_wanted = _num_leading(sections.ids, bos_id), NUM_BOS[policy]
    if num_written == num_wanted == sections.num_bos:
        return sections
    return replace(
        sections,
        ids=(bos_id,) * num_wanted + sections.ids[num_written:],
        prompt_tokens=max(sections.prompt_tokens, num_written) + num_wanted - num_written,
        num_bos=num_wanted,
    )


def apply_eos(sections: Sections, eos_id: int | None, policy: EosPolicy) -> Sections:
    """Adds or removes one closing EOS as the policy says; it counts as a closing token."""
    has_eos = bool(sections.ids) and sections.ids[-1] == eos_id
    if policy is EosPolicy.APPEND and eos_id is not None and not has_eos:
        return replace(sections, ids=(*sections.ids, eos_id), closing_tokens=sections.closing_tokens + 1)
    if policy is EosPolicy.NONE and has_eos:
        return replace(
            sections,
            ids=sections.ids[:-1],
            prompt_tokens=min(sections.prompt_tokens, len(sections.ids) - 1),
            closing_tokens=max(sections.closing_tokens - 1, 0),
        )
    return sections


def _num_leading(ids: tuple[int, ...], bos_id: int | None) -> int:
    for index, token in enumerate(ids):
        if token != bos_id:
            return index
    return len(ids)

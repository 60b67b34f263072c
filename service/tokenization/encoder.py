"""`PairEncoder`: from a pair as it came to the integers that the engine reads. The heart of this room.

One path for all three kinds of input: render (or take as it is), tokenize once as a whole, BOS and EOS by
policy, truncate by policy, cut, and find what the head reads; everything after tokenizing works on ids alone.
Synchronous, pure and thread-safe; `pool.py` puts it on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from model_store.manifest import Readout, ReadoutKind
from service.errors import EmptyPrompt, InvalidInput
from service.tokenization.bounds import TokenBound
from service.tokenization.checks import check_given_ids, check_ids
from service.tokenization.cuts import cut_points, marker_ends
from service.tokenization.readout import read_positions, with_appended_id
from service.tokenization.rendering import PromptCache, PromptRendering, Renderer, Rendering
from service.tokenization.sections import BosPolicy, EosPolicy, Sections, apply_bos, apply_eos, split_sections
from service.tokenization.template_facts import TemplateFacts
from service.tokenization.tokenized import TokenizedText, Tokenizes, tokenize_renderings
from service.tokenization.truncation import TruncationSide, cuts_right, truncate
from service.types import Conversation, EncodedPair, Message, PairInput, RenderedText, TokenIds, Truncation


@dataclass(frozen=True, slots=True)
class EncodingRules:
    """What one model wants done with ids; all of it from its manifest and files.

    Attributes:
        vocab_size: Ids are `0` to `vocab_size - 1`.
        max_tokens: The most tokens a pair may have.
        chunk_tokens: The most tokens a chunk may have; None for models whose pairs are one chunk each.
        bos_text: The BOS as text, or None.
        bos_id: The BOS, or None.
        eos_id: The EOS, or None.
        truncation_side: What the truncation policy `model` means.
    """

    vocab_size: int
    max_tokens: int
    chunk_tokens: int | None
    bos_text: str | None
    bos_id: int | None
    eos_id: int | None
    bos: BosPolicy
    eos: EosPolicy
    truncation_side: TruncationSide
    readout: Readout


class PairEncoder:
    """Encodes pairs for one model."""

    def __init__(
        self,
        renderer: Renderer,
        tokenizer: Tokenizes,
        rules: EncodingRules,
        facts: TemplateFacts,
        bound: TokenBound,
    ) -> None:
        self._renderer = renderer
        self._tokenizer = tokenizer
        self._rules = rules
        self._facts = facts
        self._bound = bound

    @property
    def facts(self) -> TemplateFacts:
        """The template's fixed parts as ids."""
        return self._facts

    def encode(self, pair: PairInput, truncation: Truncation = Truncation.ERROR) -> EncodedPair:
        """Encodes one pair.

        Raises:
            EmptyPrompt, BadConversation, BadText, BadToken, TooLong: If it cannot be scored as it was given.
        """
        [encoded] = self.encode_many([pair], truncation)
        if isinstance(encoded, InvalidInput):
            raise encoded
        return encoded

    def encode_many(
        self, pairs: Sequence[PairInput], truncation: Truncation = Truncation.ERROR
    ) -> list[EncodedPair | InvalidInput]:
        """Encodes pairs, each as if it were alone; a prompt that several share is rendered once.

        Returns:
            For each pair, in order, what the engine reads or why there is nothing to read.
        """
        open_prompt = PromptCache(self._renderer).open if len(pairs) > 1 else self._renderer.open_prompt
        drafts = [_or_refusal(self._draft, pair, open_prompt) for pair in pairs]
        renderings = [draft for draft in drafts if isinstance(draft, Rendering)]
        tokenized = iter(tokenize_renderings(self._tokenizer, renderings))
        return [self._reply(draft, tokenized, truncation) for draft in drafts]

    def upper_bound_tokens(self, pair: PairInput) -> int:
        """The most tokens that a pair can have, from its bytes alone; never raises, never tokenizes."""
        return self._bound.of(pair)

    def _draft(
        self, pair: PairInput, open_prompt: Callable[[tuple[Message, ...]], PromptRendering]
    ) -> Rendering | TokenIds:
        match pair:
            case TokenIds():
                check_given_ids(pair, self._rules.vocab_size, says_where=self._rules.readout.in_response)
                return pair
            case RenderedText():
                return self._renderer.take_rendered(pair.text, self._rules.bos_text, writes_bos=self._facts.writes_bos)
            case Conversation():
                return self._renderer.complete(open_prompt(pair.prompt), pair.response)

    def _reply(
        self,
        draft: Rendering | TokenIds | InvalidInput,
        tokenized: Iterator[TokenizedText],
        truncation: Truncation,
    ) -> EncodedPair | InvalidInput:
        match draft:
            case Rendering():
                return _or_refusal(self._finish_text, draft, next(tokenized), truncation)
            case TokenIds():
                return _or_refusal(self._finish_ids, draft, truncation)
            case InvalidInput():
                return draft

    def _finish_text(self, rendering: Rendering, tokens: TokenizedText, truncation: Truncation) -> EncodedPair:
        rules, facts = self._rules, self._facts
        if rendering.response_at is None:
            prompt_tokens = max(marker_ends(tokens.ids, facts.markers), default=len(tokens.ids))
        else:
            prompt_tokens = tokens.token_at(rendering.response_at)
        sections = split_sections(
            tokens.ids, prompt_tokens, bos_id=rules.bos_id, headers=facts.headers, closings=facts.closings
        )
        sections = apply_bos(apply_eos(sections, rules.eos_id, rules.eos), rules.bos_id, rules.bos)
        check_ids(sections.ids, rules.vocab_size, "the tokenizer's ids")
        return self._encoded(sections, truncation, rendered=rendering.shown)

    def _finish_ids(self, pair: TokenIds, truncation: Truncation) -> EncodedPair:
        sections = split_sections(
            pair.prompt_ids + pair.response_ids,
            len(pair.prompt_ids),
            bos_id=self._rules.bos_id,
            headers=self._facts.headers,
            closings=(),  # nothing was written by a template: a cut on the right is a plain one
        )
        encoded = self._encoded(sections, truncation)
        is_cut_right = encoded.truncated_tokens > 0 and cuts_right(truncation, self._rules.truncation_side)
        return replace(encoded, ended=self._facts.has_ended(pair.response_ids) and not is_cut_right)

    def _encoded(self, sections: Sections, truncation: Truncation, rendered: str | None = None) -> EncodedPair:
        rules = self._rules
        if not sections.ids:
            raise EmptyPrompt("no token stands for this pair: the template and the tokenizer leave nothing of it")
        kept = truncate(sections, truncation, self._room(sections.ids), rules.truncation_side)
        num_truncated = len(sections.ids) - len(kept.ids)
        if rules.readout.kind is ReadoutKind.APPENDED_ID:
            kept = replace(kept, ids=with_appended_id(kept.ids, rules.readout))
        reads, probe = read_positions(kept.ids, rules.readout, kept.prompt_tokens)
        return EncodedPair(
            ids=kept.ids,
            cuts=self._cuts(kept.ids),
            reads=reads,
            probe=probe,
            prompt_tokens=kept.prompt_tokens,
            response_tokens=kept.response_tokens,
            truncated_tokens=num_truncated,
            rendered=rendered,
        )

    def _room(self, ids: tuple[int, ...]) -> int:
        """How many tokens may be kept, so that a token that is appended after truncation has its place."""
        rules = self._rules
        if rules.readout.kind is not ReadoutKind.APPENDED_ID:
            return rules.max_tokens
        return rules.max_tokens - (len(with_appended_id(ids, rules.readout)) > rules.max_tokens)

    def _cuts(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        chunk_tokens = self._rules.chunk_tokens
        return (0,) if chunk_tokens is None else cut_points(ids, self._facts.markers, chunk_tokens)


Made = TypeVar("Made")
Given = ParamSpec("Given")


def _or_refusal(make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made | InvalidInput:
    """One pair's own error becomes its reply; anything else is a fault of ours and passes."""
    try:
        return make(*args, **kwargs)
    except InvalidInput as error:
        # A traceback would keep every text of the call alive as long as the reply.
        return error.with_traceback(None)

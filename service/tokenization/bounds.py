"""The most tokens a pair can have, from its bytes alone: what admission counts before any work is done.

A token stands for at least one byte of the normalised text, so bytes bound tokens; the template's own text is
counted once, at load. About four times too high for English: the true number replaces it after tokenizing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from service.errors import BadConversation
from service.tokenization.rendering import Renderer
from service.types import Conversation, Message, PairInput, RenderedText, TokenIds

MAX_EXPANSION = 11
"""How many times longer UTF-8 text may become under a normalisation we do not model: the worst case of NFKC
(unicode.org/faq/normalization.html, `expansion factors`)."""
SPARE_TOKENS = 4
"""Two BOS, one EOS, and the space that some tokenizers put in front."""
_FORMS = {"NFC", "NFD", "NFKC", "NFKD"}
_NEVER_LONGER = {"Prepend", "Replace", "Strip", "StripAccents"}


@dataclass(frozen=True, slots=True)
class TokenBound:
    """An upper bound for any pair of one model.

    Attributes:
        normalizers: The kinds of normalisation that the tokenizer applies.
        base_tokens: What the template adds to a lone user turn and its response.
        turn_tokens: What it adds for each further turn.
    """

    normalizers: tuple[str, ...]
    base_tokens: int
    turn_tokens: int

    def of(self, pair: PairInput) -> int:
        """The most tokens that the pair can have, before truncation; also true of invalid pairs."""
        match pair:
            case TokenIds():
                return len(pair.prompt_ids) + len(pair.response_ids)
            case RenderedText():
                return self._text(pair.text) + SPARE_TOKENS
            case Conversation():
                texts = self._text(pair.response)
                for message in pair.prompt:
                    texts += self._text(message.content)
                num_more_turns = max(len(pair.prompt) - 1, 0)
                return texts + self.base_tokens + num_more_turns * self.turn_tokens + SPARE_TOKENS

    def _text(self, text: str) -> int:
        if text.isascii():
            # No normalisation lengthens ASCII, and len() costs nothing.
            return len(text)
        expansion = 1
        for kind in self.normalizers:
            if kind in _FORMS:
                text = unicodedata.normalize(kind, text)  # type: ignore[arg-type]  # membership does not narrow
            elif kind not in _NEVER_LONGER:
                expansion = MAX_EXPANSION
        return expansion * len(text.encode(errors="surrogatepass"))


def learn_bound(renderer: Renderer, control_strings: Collection[str], normalizers: tuple[str, ...]) -> TokenBound:
    """Measures on three conversations what the template adds."""
    user, assistant, system = (Message(role, "x") for role in ("user", "assistant", "system"))
    base_tokens = _added_tokens(renderer, (user,), control_strings) or 0
    longer = [(user, assistant, user), (system, user)]
    # A pair of turns is charged for each turn, so that two user turns in a row stay within the bound.
    added = [_added_tokens(renderer, prompt, control_strings) for prompt in longer]
    return TokenBound(normalizers, base_tokens, max([base_tokens, *(a - base_tokens for a in added if a is not None)]))


def _added_tokens(renderer: Renderer, prompt: tuple[Message, ...], control_strings: Collection[str]) -> int | None:
    try:
        text = renderer.complete(renderer.open_prompt(prompt), "x").shown
    except BadConversation:
        return None
    num_control = 0
    for control in sorted(control_strings, key=len, reverse=True):
        num_control += text.count(control)
        text = text.replace(control, "")
    # Some tokenizers put a space before the text after each control token: two tokens each.
    return len(text.encode()) + 2 * num_control

"""Tokens of a text: finding a place of the text among them, and getting them for several texts at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.tokenization.rendering import Rendering


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The T ids of one text and, for each, the characters `[start, end)` of the text that it stands for."""

    ids: tuple[int, ...]
    spans: Sequence[tuple[int, int]]

    def token_at(self, char: int) -> int:
        """The first token that holds the character or lies after it; T if there is none.

        >>> tokens = TokenizedText((7, 8), [(0, 2), (2, 5)])
        >>> tokens.token_at(1), tokens.token_from(1), tokens.token_at(5)
        (0, 1, 2)
        """
        return bisect_left(self.spans, True, key=lambda span: span[0] >= char or span[1] > char)

    def token_from(self, char: int) -> int:
        """The first token that begins at the character or after it; T if there is none."""
        return bisect_left(self.spans, True, key=lambda span: span[0] >= char)


class Tokenizes(Protocol):
    """Tokenizes whole texts without adding anything (`FastTokenizer` does)."""

    def tokenize(self, texts: Sequence[str], *, disguised: bool = False) -> list[TokenizedText]:
        """One result for each text; `disguised` says that control tokens are written by private names."""


def tokenize_renderings(tokenizer: Tokenizes, renderings: Sequence[Rendering]) -> list[TokenizedText]:
    """Tokenizes renderings, plain and disguised ones in one batch each; results in the order given."""
    if len(renderings) == 1 and not renderings[0].breaks:
        return tokenizer.tokenize([renderings[0].text], disguised=renderings[0].is_disguised)
    results: dict[int, TokenizedText] = {}
    for disguised in (False, True):
        chosen = [index for index, rendering in enumerate(renderings) if rendering.is_disguised == disguised]
        if chosen:
            texts = [piece for index in chosen for piece in renderings[index].pieces]
            tokenized = iter(tokenizer.tokenize(texts, disguised=disguised))
            for index in chosen:
                results[index] = _joined([(next(tokenized), piece) for piece in renderings[index].pieces])
    return [results[index] for index in range(len(renderings))]


def _joined(pieces: Sequence[tuple[TokenizedText, str]]) -> TokenizedText:
    """The tokens of pieces of one text, side by side, their characters counted from the whole text's beginning."""
    if len(pieces) == 1:
        return pieces[0][0]
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    offset = 0
    for tokens, piece in pieces:
        ids += tokens.ids
        spans += [(start + offset, end + offset) for start, end in tokens.spans]
        offset += len(piece)
    return TokenizedText(tuple(ids), spans)

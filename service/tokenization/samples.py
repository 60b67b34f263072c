"""Sample conversations, rendered and tokenized at load, for learning what a template looks like in ids.

They vary what stands around the template's own text, because neighbours may merge with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from service.errors import BadConversation, SettingsError
from service.tokenization.rendering import Renderer, Rendering, common_start
from service.tokenization.tokenized import TokenizedText
from service.types import Message

QUESTION = "What is a tide"
"""How the samples' user turns begin."""
QUESTION_ENDS = ("", "1", ".", "?", ")", "]", '"', "\n", " ", "é", "文", "🙂")
"""How they end: what may merge with the first characters that the template writes next."""
RESPONSES = ("Water moves", "it moves", "1 moon", "(see below)", "文字です")
"""What may merge with the last characters before it and the first ones after it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample conversation.

    Attributes:
        rendering: Its text.
        tokens: The tokens of that text.
        response_at: The character where the response begins, as for any pair.
        response_end: The character after its last.
        opening: The text that opens the assistant's turn, or empty where the template shows none.
    """

    rendering: Rendering
    tokens: TokenizedText
    response_at: int
    response_end: int
    opening: str


def make_samples(
    renderer: Renderer, tokenize: Callable[[Sequence[Rendering]], Sequence[TokenizedText]]
) -> list[Sample]:
    """Renders and tokenizes all samples that the template takes; the first is a lone user turn.

    Raises:
        SettingsError: If it takes not even the plainest one.
    """
    drafts = [draft for prompt, response in _conversations() for draft in _drafts(renderer, prompt, response)]
    if not drafts:
        raise SettingsError(f"the chat template refuses a lone user turn: {_refusal(renderer)}")
    tokenized = tokenize([rendering for rendering, _, _ in drafts])
    return [_sample(*draft, tokens) for draft, tokens in zip(drafts, tokenized, strict=True)]


def _conversations() -> Iterator[tuple[tuple[Message, ...], str]]:
    for end, response in product(QUESTION_ENDS, RESPONSES):
        yield (Message("user", QUESTION + end),), response
    user, assistant = Message("user", QUESTION), Message("assistant", RESPONSES[0])
    yield (user, assistant, Message("user", "Why?")), RESPONSES[1]
    yield (Message("system", "Be brief."), user), RESPONSES[0]


def _drafts(renderer: Renderer, prompt: tuple[Message, ...], response: str) -> Iterator[tuple[Rendering, str, str]]:
    try:
        opened = renderer.open_prompt(prompt)
        rendering = renderer.complete(opened, response)
        unopened = renderer.leave_unopened(opened)
    except BadConversation:
        # Many templates refuse a system turn or a second user turn; the others still teach enough.
        return
    yield rendering, response, _opening(unopened, opened.opened, rendering.shown)


def _opening(unopened: str, opened: str, whole: str) -> str:
    # What is offered for generating and what stands in a finished turn may differ (a `<think>` that is only
    # offered), so only the common part opens every turn.
    if not (opened.startswith(unopened) and whole.startswith(unopened)):
        return ""
    return common_start(opened, whole)[len(unopened) :]


def _sample(rendering: Rendering, response: str, opening: str, tokens: TokenizedText) -> Sample:
    response_at = rendering.response_at or 0
    found = rendering.text.rfind(response)
    response_end = found + len(response) if found >= 0 else len(rendering.text)
    return Sample(rendering, tokens, response_at, response_end, opening)


def _refusal(renderer: Renderer) -> str:
    try:
        renderer.complete(renderer.open_prompt((Message("user", QUESTION),)), RESPONSES[0])
    except BadConversation as error:
        return error.message
    return "it gave no reason"

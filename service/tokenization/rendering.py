"""From a pair as it came to one text to tokenize: template, BOS text, and control strings in user text.

Knows where in the text the response begins. Knows no ids: BOS, EOS and truncation policies come later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from service.errors import BadConversation, EmptyPrompt, InvalidInput
from service.tokenization.checks import check_prompt, check_text
from service.tokenization.escaping import ControlText
from service.types import Message


class UserSpecials(StrEnum):
    """The values of the manifest's `template.user_specials`; what they mean is said there."""

    ESCAPE = "escape"
    PARSE = "parse"


@dataclass(frozen=True, slots=True)
class StepMarks:
    """What is written behind each step of a process model's response, and what stands between steps.

    Attributes:
        is_piecewise: Whether the prompt, each step and each mark are tokenized by themselves.
    """

    mark: str
    separator: str
    is_piecewise: bool = False

    def put(self, response: str) -> str:
        """The response with its steps marked; one that holds the mark already stays as it is.

        >>> StepMarks("<step>", "\\n").put("One.\\nTwo.")
        'One.<step>Two.<step>'
        >>> StepMarks("\\n", "\\n").put("One.\\nTwo.")
        'One.\\nTwo.\\n'
        """
        if self.mark == self.separator:
            return response + self.mark
        if self.mark in response:
            return response
        return self.mark.join(response.split(self.separator)) + self.mark

    def breaks(self, marked: str, start: int) -> tuple[int, ...]:
        """Where a text is cut before it is tokenized, if the marked response begins at `start` of it.

        >>> StepMarks("|", "|", is_piecewise=True).breaks("ab|c|", start=3)
        (3, 5, 6, 7, 8)
        """
        places = [start]
        for step in marked.split(self.mark)[:-1]:
            places += [places[-1] + len(step), places[-1] + len(step) + len(self.mark)]
        return tuple(places)


class Renders(Protocol):
    """Writes messages out with the model's chat template (`FastTokenizer` does)."""

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Raises `BadConversation` with the template's words if it refuses them."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A whole conversation as text.

    Attributes:
        text: What is tokenized.
        shown: The same for people: no private names.
        response_at: The character of `text` where the response begins; None if only the ids can tell.
        is_disguised: Whether control tokens are written by their private names.
        breaks: Characters of `text`, in order, before which it is cut; what lies between is tokenized by itself.
    """

    text: str
    shown: str
    response_at: int | None
    is_disguised: bool = False
    breaks: tuple[int, ...] = ()

    @property
    def pieces(self) -> list[str]:
        """The parts of `text` that are each tokenized by themselves; some may be empty."""
        return [self.text[start:stop] for start, stop in pairwise((0, *self.breaks, len(self.text)))]


@dataclass(frozen=True, slots=True)
class PromptRendering:
    """What all responses to one prompt share.

    Attributes:
        messages: The prompt's turns, control strings in them marked.
        opened: The rendering up to where the response begins, marks in it.
        is_marked: Whether there were control strings to mark.
    """

    messages: tuple[Message, ...]
    opened: str
    is_marked: bool


class Renderer:
    """Renders conversations; pure, and safe to use from several threads."""

    def __init__(
        self,
        template: Renders,
        control: ControlText,
        *,
        user_specials: UserSpecials = UserSpecials.ESCAPE,
        always_disguise: bool = False,
        removed_text: str | None = None,
        max_user_turns: int | None = None,
        steps: StepMarks | None = None,
    ) -> None:
        """Takes the collaborators and the manifest's wishes.

        Args:
            template: Writes messages out.
            control: The control strings and their disguises.
            user_specials: Whether control strings in user text are plain text.
            always_disguise: Whether to disguise even where no control string was found in user text.
            removed_text: Removed wherever it stands in a rendering: the BOS text under the policy `strip`.
            max_user_turns: More user turns are refused; None for no limit.
            steps: How a response's steps are marked; None for models that read none.
        """
        self._template = template
        self._control = control
        self._escapes = user_specials is UserSpecials.ESCAPE
        self._always_disguise = always_disguise and self._escapes
        self._removed_text = removed_text
        self._max_user_turns = max_user_turns
        self._steps = steps

    def open_prompt(self, prompt: tuple[Message, ...]) -> PromptRendering:
        """Checks and renders a prompt up to where the response begins.

        Raises:
            InvalidInput: One of its kinds, if the prompt or the template says no.
        """
        check_prompt(prompt, self._max_user_turns)
        contents = [message.content for message in prompt]
        marked = [self._mark(content) for content in contents]
        is_marked = marked != contents
        messages = tuple(map(Message, [message.role for message in prompt], marked)) if is_marked else prompt
        opened = self._render(messages, add_generation_prompt=True)
        return PromptRendering(messages, opened, is_marked)

    def leave_unopened(self, prompt: PromptRendering) -> str:
        """Renders a prompt without opening the assistant's turn, marks in it."""
        return self._render(prompt.messages)

    def complete(self, prompt: PromptRendering, response: str) -> Rendering:
        """Renders a prompt and one response to it as a whole.

        Raises:
            BadText: If the response holds a lone surrogate.
            BadConversation: If the template refuses the conversation, or changes a response that it must not.
        """
        check_text(response, "the response")
        escaped = self._mark(response)
        marked = escaped if self._steps is None else self._steps.put(escaped)
        whole = self._render((*prompt.messages, Message("assistant", marked)))
        response_at = _response_at(whole, prompt.opened, marked)
        if prompt.is_marked or escaped != response or self._always_disguise:
            disguise = self._control.disguise
            return Rendering(disguise(whole), self._control.show(whole), len(disguise(whole[:response_at])), True)
        return Rendering(whole, whole, response_at, breaks=self._breaks(whole, marked, response_at))

    def _breaks(self, whole: str, marked: str, response_at: int) -> tuple[int, ...]:
        if self._steps is None or not self._steps.is_piecewise:
            return ()
        if not whole.startswith(marked, response_at):
            raise BadConversation("the chat template changes the response, whose steps are tokenized one by one")
        return self._steps.breaks(marked, response_at)

    def take_rendered(self, text: str, bos_text: str | None, *, writes_bos: bool) -> Rendering:
        """Takes a conversation that is rendered already; control strings in it are control tokens.

        A leading BOS is put there or taken away to be as the template writes it, so that both ways of sending
        the text are the same text to the tokenizer.

        Raises:
            BadText: If it holds a lone surrogate.
            EmptyPrompt: If it holds nothing.
            BadConversation: If it would have to be tokenized piece by piece.
        """
        check_text(text, "the text")
        if self._steps is not None and self._steps.is_piecewise:
            raise BadConversation(
                "this model's steps are tokenized one by one, and rendered text does not say where they are; "
                "allowed: messages, or ids of prompt and response"
            )
        if bos_text:
            text = self._without_removed(bos_text * writes_bos + _without_leading(text, bos_text))
        if not text.removeprefix(bos_text or "").strip():
            raise EmptyPrompt("the text holds nothing besides white space and BOS; give a rendered conversation")
        return Rendering(text, text, None)

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        return self._without_removed(self._template.render(messages, add_generation_prompt=add_generation_prompt))

    def _without_removed(self, text: str) -> str:
        return text.replace(self._removed_text, "") if self._removed_text else text

    def _mark(self, text: str) -> str:
        return self._control.mark(text) if self._escapes else text


class PromptCache:
    """Opens each prompt of one call once, refused ones too; one call, one cache, one thread."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._opened: dict[tuple[Message, ...], PromptRendering | InvalidInput] = {}

    def open(self, prompt: tuple[Message, ...]) -> PromptRendering:
        """What `Renderer.open_prompt` returns or raises."""
        opened = self._opened.get(prompt)
        if opened is None:
            try:
                opened = self._renderer.open_prompt(prompt)
            except InvalidInput as error:
                opened = error
            self._opened[prompt] = opened
        if isinstance(opened, InvalidInput):
            raise opened
        return opened


def _response_at(whole: str, opened: str, response: str) -> int:
    """Where the response begins: after the opened prompt, or where it stands last if that is not a prefix."""
    if whole.startswith(opened):
        return len(opened)
    found = whole.rfind(response.strip()) if response.strip() else -1
    return found if found >= 0 else len(common_start(whole, opened))


def common_start(left: str, right: str) -> str:
    """The characters that both begin with.

    >>> common_start("abc", "abd")
    'ab'
    """
    length = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    return min(left, right, key=len) if length is None else left[:length]


def _without_leading(text: str, prefix: str) -> str:
    while text.startswith(prefix):
        text = text.removeprefix(prefix)
    return text

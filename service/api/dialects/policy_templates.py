"""Policy templates: takes text that a trainer rendered for its own policy apart into messages.

A reward model must see its own template, so `[INST] … [/INST] …` of a Mistral policy is not fed to it as text. A
template is a table of what opens and closes each role's turn. Parsing is a walk over the whole text in which every
character is a marker or content, so that what is accepted re-renders to the same text; anything else is no match.
The templates are those of the models' own tokenizer files, as transformers renders them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from service.errors import BadConversation, InvalidInput
from service.types import Conversation, Message

AS_IS: Final = "as-is"
"""Takes every text as the model's own: no template is looked for."""

_TOKEN: Final = re.compile(r"<[^<>\s]+>|\[/?INST\]")
_TAGS_OF_HTML: Final = frozenset({"<s>", "</s>"})
"""Control tokens that plain text may hold, too: they alone do not make a text look rendered."""

_LLAMA3_DATES: Final = re.compile(r"Cutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\n\n")
"""What Llama 3.1's template writes into every system turn by itself, and would write again."""

_LLAMA2_SYSTEM: Final = re.compile(r"<<SYS>>\n(?P<system>.*?)\n<</SYS>>\n\n(?P<user>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PolicyTemplate:
    """How a policy's conversations are written.

    Attributes:
        turns: For each role what opens and what closes its turn.
        bos: Texts that may stand once at the very start.
        stops: What may stand at the end of an answer that is complete.
        is_spaced: Whether white space around a turn's content belongs to the template (its decoders add some).
        has_llama2_system: Whether the first user turn may hold a system message between `<<SYS>>` marks.
    """

    name: str
    turns: Mapping[str, tuple[str, str]]
    bos: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    is_spaced: bool = False
    has_llama2_system: bool = False
    markers: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        marks = {mark for pair in self.turns.values() for mark in pair if mark} | set(self.stops)
        object.__setattr__(self, "markers", tuple(sorted({word for mark in marks for word in _tokens_in(mark)})))

    def is_hinted(self, text: str) -> bool:
        """Whether anything in the text looks like this template."""
        return any(marker in text for marker in self.markers if marker not in _TAGS_OF_HTML)

    def parse(self, text: str) -> ParsedText | None:
        """The text as messages, or None if it is not, to its last character, in this template."""
        rest = self._without_bos(text)
        messages: list[Message] = []
        while rest:
            role = self._opening_role(rest, messages)
            if role is None:
                return None
            opening, closing = self.turns[role]
            rest = rest[len(opening) :]
            content, rest, is_closed = self._content(role, rest, closing)
            if any(marker in content for marker in self.markers):
                return None
            messages.append(Message(role, content.strip() if self.is_spaced else content))
            if not is_closed and role != "assistant":
                return None
            if role == "assistant" and not rest:
                return self._parsed(messages, is_closed)
        return None

    def _parsed(self, messages: list[Message], ended: bool) -> ParsedText | None:
        prompt = tuple(_without_dates(self._with_system(messages[:-1])))
        if prompt and prompt[0] == Message("system", ""):  # what Llama 3's template writes where nothing was given
            prompt = prompt[1:]
        if not prompt or prompt[-1].role == "assistant":
            return None
        return ParsedText(Conversation(prompt, messages[-1].content), ended)

    def _without_bos(self, text: str) -> str:
        for bos in self.bos:
            if text.startswith(bos):
                text = text[len(bos) :]
                break
        return text.lstrip(" ") if self.is_spaced else text

    def _opening_role(self, rest: str, messages: list[Message]) -> str | None:
        """Whose turn begins here; an empty opening is the assistant's, right after a user's turn."""
        for role, (opening, _) in self.turns.items():
            if opening and rest.startswith(opening):
                return role
        follows_user = bool(messages) and messages[-1].role == "user"
        return "assistant" if self.turns["assistant"][0] == "" and follows_user else None

    def _content(self, role: str, rest: str, closing: str) -> tuple[str, str, bool]:
        """A turn's content, what follows it, and whether it was closed."""
        end = self._end_of(role, rest, closing)
        if end >= 0:
            after = rest[end + len(closing) :]
            return rest[:end], after.lstrip(" ") if self.is_spaced else after, True
        for stop in self.stops:
            if role == "assistant" and rest.rstrip("\n ").endswith(stop):
                return rest.rstrip("\n ").removesuffix(stop), "", True
        return rest, "", False

    def _end_of(self, role: str, rest: str, closing: str) -> int:
        """Where a turn ends: at its closing mark, or, without one, where the next role's begins; -1 for nowhere."""
        if closing:
            return rest.find(closing)
        starts = [rest.find(opening) for other, (opening, _) in self.turns.items() if other != role and opening]
        return min((start for start in starts if start >= 0), default=-1)

    def _with_system(self, messages: list[Message]) -> list[Message]:
        match = _LLAMA2_SYSTEM.fullmatch(messages[0].content) if self.has_llama2_system and messages else None
        if match is None:
            return messages
        return [Message("system", match["system"]), Message("user", match["user"]), *messages[1:]]


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A conversation found in rendered text, and whether its answer ends with the policy's stop token."""

    conversation: Conversation
    ended: bool


def _without_dates(messages: list[Message]) -> list[Message]:
    dates = _LLAMA3_DATES.match(messages[0].content) if messages and messages[0].role == "system" else None
    if dates is None:
        return messages
    system = messages[0].content[dates.end() :]
    return [Message("system", system), *messages[1:]] if system else messages[1:]


def _tokens_in(mark: str) -> list[str]:
    """The control tokens of a mark; the mark itself where it is words."""
    return _TOKEN.findall(mark) or [mark]


def _chat(
    name: str, opening: str, closing: str, *, bos: tuple[str, ...], assistant: str = "assistant"
) -> PolicyTemplate:
    """A template whose turns differ in nothing but the role's name."""
    turns = {
        role: (opening.format(written), closing)
        for role, written in (("system", "system"), ("user", "user"), ("assistant", assistant))
    }
    return PolicyTemplate(name, turns, bos=bos, stops=(closing.strip(),))


_INST: Final = {"user": ("[INST]", "[/INST]"), "assistant": ("", "</s>")}

TEMPLATES: Final[Mapping[str, PolicyTemplate]] = {
    template.name: template
    for template in (
        PolicyTemplate(
            "llama-2",
            {"user": ("<s>[INST]", "[/INST]"), "assistant": ("", "</s>")},
            is_spaced=True,
            has_llama2_system=True,
        ),
        PolicyTemplate("mistral", _INST, bos=("<s>",), stops=("</s>",), is_spaced=True, has_llama2_system=True),
        _chat("llama-3", "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>", bos=("<|begin_of_text|>",)),
        _chat("chatml", "<|im_start|>{}\n", "<|im_end|>\n", bos=("<s>", "<|endoftext|>")),
        _chat("gemma", "<start_of_turn>{}\n", "<end_of_turn>\n", assistant="model", bos=("<bos>",)),
        _chat("zephyr", "<|{}|>\n", "</s>\n", bos=("<s>",)),
        PolicyTemplate(
            "openchat",
            {
                "user": ("GPT4 Correct User: ", "<|end_of_turn|>"),
                "assistant": ("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
            },
            bos=("<s>",),
            stops=("<|end_of_turn|>",),
        ),
        PolicyTemplate(
            "alpaca",
            {"user": ("### Instruction:\n", "\n\n### Response:\n"), "assistant": ("", "</s>")},
            bos=("<s>",),
            stops=("</s>",),
        ),
        PolicyTemplate(
            "human-assistant",
            {"user": ("\n\nHuman: ", ""), "assistant": ("\n\nAssistant: ", "")},
            bos=("<s>",),
            stops=("</s>", "<|endoftext|>"),
        ),
    )
}
"""The templates that are recognised, by the name `--policy-template` takes."""


Wanted = str | PolicyTemplate | None
"""A known template's name, `as-is`, a template of the operator's own, or None to recognise it."""


def conversation_in(text: str, wanted: Wanted) -> ParsedText | None:
    """Takes rendered text apart; None where no template's marks are in it, or none is to be looked for.

    Raises:
        InvalidInput: If `wanted` is no template.
        BadConversation: If the text looks rendered but is not exactly one conversation of the template (of
            exactly one reading, where it is to be recognised).
    """
    if wanted == AS_IS:
        return None
    candidates = _candidates(wanted)
    readings = {parsed for template in candidates if (parsed := template.parse(text)) is not None}
    if len(readings) == 1:
        return readings.pop()
    hinted = [template.name for template in candidates if template.is_hinted(text)]
    if not readings and not hinted and wanted is None:
        return None
    found = (
        f"it could be read in {len(readings)} ways" if readings else f"it has marks of {', '.join(hinted) or 'none'}"
    )
    raise BadConversation(
        f"the text is not one whole conversation in a known policy template ({found}); "
        f"set --policy-template to one of {', '.join((*TEMPLATES, AS_IS))}"
    )


def _candidates(wanted: Wanted) -> Collection[PolicyTemplate]:
    """The templates to try."""
    if wanted is None:
        return TEMPLATES.values()
    if isinstance(wanted, PolicyTemplate):
        return (wanted,)
    if wanted not in TEMPLATES:
        allowed = ", ".join((*TEMPLATES, AS_IS))
        raise InvalidInput(f"policy_template is {wanted!a}; allowed: {allowed}", param="policy_template")
    return (TEMPLATES[wanted],)

"""The policy template of the settings: a known one by its name, or what a folder's chat template turns out to write."""

from __future__ import annotations

from pathlib import Path

from service.api.dialects.policy_templates import AS_IS, TEMPLATES, PolicyTemplate
from service.errors import BadConversation, SettingsError
from service.tokenization.fast_tokenizer import FastTokenizer
from service.tokenization.folder import read_tokenizer_folder
from service.tokenization.policy_turns import PolicyTurns, Render, turns_of
from service.types import Message

SAMPLES = (
    (Message("user", "One?"), Message("assistant", "Two.")),
    (Message("user", "One?"), Message("assistant", "Two."), Message("user", "Three?"), Message("assistant", "Four.")),
    (Message("system", "Be brief."), Message("user", "One?"), Message("assistant", "Two.")),
)
"""Conversations that must come back as they went in; the last only where the template takes a system message."""


def chosen_policy_template(wanted: str | None) -> PolicyTemplate | str | None:
    """What `--policy-template` asks for: itself where it is a name, the template of a folder, or None.

    Raises:
        SettingsError: If it is neither, or the folder's template cannot be taken apart.
    """
    if wanted is None or wanted == AS_IS or wanted in TEMPLATES:
        return wanted
    if not Path(wanted).is_dir():
        allowed = ", ".join((*TEMPLATES, AS_IS))
        raise SettingsError(
            f"policy_template: given {wanted!r}; allowed: {allowed}, or a folder that holds a tokenizer and a template",
            param="policy_template",
        )
    tokenizer = FastTokenizer(read_tokenizer_folder(Path(wanted), None))
    try:
        return template_of(wanted, tokenizer.render, tokenizer.bos_text or "", tokenizer.eos_text or "")
    except ValueError as error:
        raise SettingsError(
            f"policy_template: the chat template in {wanted!r} cannot be taken apart: {error}; allowed: one that "
            "writes the content of each turn unchanged between fixed texts",
            param="policy_template",
        ) from error


def template_of(name: str, render: Render, bos: str, eos: str) -> PolicyTemplate:
    """The template that `render` writes, proved by taking apart what it writes.

    Raises:
        ValueError: If that does not give back what was put in.
    """
    turns = turns_of(render, bos, eos)
    for lead in dict.fromkeys((turns.bos, turns.lead)):  # a default system message is a message, if it reads as one
        template = _template(name, turns, lead)
        if all(_comes_back(template, render, sample) for sample in SAMPLES[: 3 if _has_system(turns) else 2]):
            return template
    raise ValueError("what it writes for a sample conversation could not be read back")


def _template(name: str, turns: PolicyTurns, lead: str) -> PolicyTemplate:
    marks = [mark for pair in turns.turns.values() for mark in pair]
    is_spaced = any(mark != mark.strip(" ") for mark in marks)
    stops = dict.fromkeys(stop for stop in (turns.turns["assistant"][1].strip(), turns.eos) if stop)
    return PolicyTemplate(
        name,
        {role: (a.strip(" "), b.strip(" ")) if is_spaced else (a, b) for role, (a, b) in turns.turns.items()},
        bos=(lead,) if lead else (),
        stops=tuple(stops),
        is_spaced=is_spaced,
        has_llama2_system=turns.has_llama2_system,
    )


def _has_system(turns: PolicyTurns) -> bool:
    return "system" in turns.turns or turns.has_llama2_system


def _comes_back(template: PolicyTemplate, render: Render, sample: tuple[Message, ...]) -> bool:
    """Whether the sample is read back, maybe behind the template's own system message."""
    try:
        parsed = template.parse(render(sample))
    except BadConversation as error:
        raise ValueError(str(error)) from error
    if parsed is None or parsed.conversation.response != sample[-1].content:
        return False
    prompt = parsed.conversation.prompt
    is_given = prompt == sample[:-1]
    return is_given or (prompt[0].role == "system" and sample[0].role == "user" and prompt[1:] == sample[:-1])

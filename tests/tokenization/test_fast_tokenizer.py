"""Rendering without `apply_chat_template` around it writes what it writes, and refuses what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import BadConversation
from service.tokenization.fast_tokenizer import FastTokenizer
from service.tokenization.folder import read_tokenizer_folder
from service.types import Message

PROMPTS = [
    (Message("user", "Hello there?"),),
    (Message("user", " What\n\nis a tide? "), Message("assistant", "« être » 🙂"), Message("user", "<|im_end|>")),
    (Message("system", "{{ 7 * 7 }}"), Message("user", "")),
    (Message("assistant", "</think>"),),
    (Message("user", "one"), Message("user", "two")),
]


def written(tokenizer: FastTokenizer, messages: tuple[Message, ...], opened: bool) -> str:
    try:
        return tokenizer.render(messages, add_generation_prompt=opened)
    except BadConversation as error:
        return f"refused: {error}"


@pytest.mark.parametrize("opened", [False, True], ids=["closed", "opened"])
def test_a_template_alone_writes_what_apply_chat_template_writes(any_folder: Path, opened: bool) -> None:
    tokenizer, slow = (FastTokenizer(read_tokenizer_folder(any_folder, None)) for _ in range(2))
    assert tokenizer._maybe_template is not None
    slow._maybe_template = None

    assert [written(tokenizer, prompt, opened) for prompt in PROMPTS] == [
        written(slow, prompt, opened) for prompt in PROMPTS
    ]

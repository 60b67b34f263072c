"""A policy's own chat template, found out by what it writes."""

import json
from pathlib import Path

import pytest

from service.api.dialects.policy_templates import conversation_in
from service.errors import BadConversation, SettingsError
from service.policy_template import chosen_policy_template
from service.tokenization.fast_tokenizer import FastTokenizer
from service.tokenization.folder import read_tokenizer_folder
from service.types import Conversation, Message
from tests.checkpoints import CHATML, make_tokenizer

QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set loop_messages = messages %}{% set system = '' %}{% endif %}"
    "{% for m in loop_messages %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' </s>' }}{% endif %}{% endfor %}"
)
VICUNA = (
    "A chat between a user and a model. {% for m in messages %}"
    "{% if m['role'] == 'user' %}USER: {{ m['content'] }} ASSISTANT:"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}</s>"
    "{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
)
DATED = (
    "{{ bos_token }}<|im_start|>system\nToday: 1 May 2024\n\n"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}<|im_end|>"
    "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>"
    "{% endfor %}"
)
SHOUTED = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].lower() }}!<|im_end|>\n{% endfor %}"
NUMBERED = "{% for m in messages %}<{{ loop.index }}>{{ m['content'] }}</{{ loop.index }}>{% endfor %}"

USER, ANSWER = Message("user", "What is 2+2?"), Message("assistant", "It is 4.")
MORE, SYSTEM = (Message("user", "And 3+3?"), Message("assistant", "6,\nof course.")), Message("system", "Be brief.")


def folder_with(tmp_path, template):
    make_tokenizer(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    return str(tmp_path)


def rendered(folder, *messages):
    return FastTokenizer(read_tokenizer_folder(Path(folder), None)).render(list(messages))


@pytest.mark.parametrize("template", [CHATML, QWEN, LLAMA_2, VICUNA, DATED], ids=range(5))
def test_what_a_folders_template_writes_comes_back_as_messages(tmp_path, template):
    folder = folder_with(tmp_path, template)
    wanted = chosen_policy_template(folder)
    default = [Message("system", "You are helpful.")] if template is QWEN else []

    for turns in ((USER, ANSWER), (USER, ANSWER, *MORE)):
        parsed = conversation_in(rendered(folder, *turns), wanted)
        assert parsed.conversation == Conversation((*default, *turns[:-1]), turns[-1].content)
    if template is not VICUNA:
        parsed = conversation_in(rendered(folder, SYSTEM, USER, ANSWER), wanted)
        assert parsed.conversation == Conversation((SYSTEM, USER), ANSWER.content)


def test_other_text_is_refused_with_what_to_set(tmp_path):
    wanted = chosen_policy_template(folder_with(tmp_path, CHATML))

    with pytest.raises(BadConversation, match="policy-template"):
        conversation_in("[INST] hi [/INST] yo", wanted)


@pytest.mark.parametrize("template", [SHOUTED, NUMBERED], ids=["shouted", "numbered"])
def test_a_template_that_cannot_be_taken_apart_ends_the_start(tmp_path, template):
    with pytest.raises(SettingsError, match="cannot be taken apart"):
        chosen_policy_template(folder_with(tmp_path, template))


def test_what_is_neither_a_name_nor_a_folder_is_refused_with_what_is_allowed(tmp_path):
    assert chosen_policy_template("chatml") == "chatml"
    assert chosen_policy_template(None) is None
    with pytest.raises(SettingsError, match=r"llama-2.*as-is.*folder"):
        chosen_policy_template(str(tmp_path / "nowhere"))

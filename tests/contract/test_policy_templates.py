"""Text rendered for a policy is taken apart into the same messages whatever the policy; what is doubtful is refused."""

from __future__ import annotations

import pytest

from service.api.dialects.policy_templates import AS_IS, TEMPLATES, conversation_in
from service.errors import BadConversation, InvalidInput
from service.types import Conversation, Message

SINGLE = Conversation((Message("user", "What is 2+2?"),), "It is 4.")
MULTI = Conversation((Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "And 2+2?")), "4.")
SYSTEM = Conversation((Message("system", "Be brief."), Message("user", "Hi")), "Hey")

RENDERED = {
    "llama-2": [
        ("<s>[INST] What is 2+2? [/INST] It is 4. </s>", SINGLE, True),
        ("<s>[INST] Hi [/INST] Hello! </s><s>[INST] And 2+2? [/INST] 4.", MULTI, False),
        ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hey </s>", SYSTEM, True),
    ],
    "mistral": [
        ("<s> [INST] What is 2+2? [/INST] It is 4.</s>", SINGLE, True),
        ("[INST] Hi [/INST]Hello!</s> [INST] And 2+2? [/INST] 4.</s>", MULTI, True),
    ],
    "llama-3": [
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nIt is 4.<|eot_id|>",
            SINGLE,
            True,
        )
    ],
    "chatml": [
        (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHey<|im_end|>\n",
            SYSTEM,
            True,
        ),
        (
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
            "<|im_start|>user\nAnd 2+2?<|im_end|>\n<|im_start|>assistant\n4.<|im_end|>",
            MULTI,
            True,
        ),
    ],
    "gemma": [
        (
            "<bos><start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\nIt is 4.<end_of_turn>",
            SINGLE,
            True,
        )
    ],
    "zephyr": [("<|user|>\nWhat is 2+2?</s>\n<|assistant|>\nIt is 4.</s>", SINGLE, True)],
    "openchat": [
        ("<s>GPT4 Correct User: What is 2+2?<|end_of_turn|>GPT4 Correct Assistant: It is 4.", SINGLE, False),
    ],
    "alpaca": [("### Instruction:\nWhat is 2+2?\n\n### Response:\nIt is 4.", SINGLE, False)],
    "human-assistant": [
        ("\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: And 2+2?\n\nAssistant: 4.", MULTI, False),
    ],
}
CASES = [(name, *case) for name, cases in RENDERED.items() for case in cases]


def test_every_template_has_a_case():
    assert set(RENDERED) == set(TEMPLATES)


@pytest.mark.parametrize(("name", "text", "conversation", "ended"), CASES)
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "recognised"])
def test_rendered_text_becomes_its_messages(name, text, conversation, ended, is_named):
    parsed = conversation_in(text, name if is_named else None)
    assert parsed is not None
    assert (parsed.conversation, parsed.ended) == (conversation, ended)


@pytest.mark.parametrize(
    "text",
    [
        "What is [/INST] for?",
        "<|im_start|>user\nHi<|im_end|>\n",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHe<|im_start|>llo",
        "[INST] cut on the left",
        "ut off [/INST] answer</s>",
        "<|im_start|>user\n[INST] Hi [/INST]<|eot_id|>",
    ],
)
def test_what_only_looks_rendered_is_refused_with_what_to_set(text):
    with pytest.raises(BadConversation, match="--policy-template"):
        conversation_in(text, None)


def test_plain_text_is_no_conversation_and_as_is_looks_for_none():
    assert conversation_in("just words", None) is None
    assert conversation_in("<s>struck</s> by a Human: or not", None) is None
    assert conversation_in("[INST] hi [/INST] x</s>", AS_IS) is None


def test_a_named_template_must_fit_and_exist():
    with pytest.raises(BadConversation):
        conversation_in("just words", "chatml")
    with pytest.raises(InvalidInput, match="llama-2"):
        conversation_in("just words", "vicuna")

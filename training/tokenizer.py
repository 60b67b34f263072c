"""Trains the demo model's tokenizer and states its chat template.

Byte-level BPE, so that any text can be encoded; digits stay single, which keeps numbers comparable. The
template is ChatML with `<s>` written once by the template itself (no post-processor adds it). A rendered
prompt is an exact prefix of the rendered prompt with its response, which ends right after `<|im_end|>`.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from service.types import Message
from training.rankings import Ranking

__all__ = ["CHAT_TEMPLATE", "render", "texts_of", "train_tokenizer"]

BOS, PAD, TURN_START, TURN_END = "<s>", "<pad>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n ' + message['content'] | trim + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"
)
"""Turns are joined by newlines, never followed by one: the reward is read at the last `<|im_end|>`.

A space stands before each turn's text, so that its first word has the token it has anywhere else; white space that
was around the text is dropped, so that none is read in front of it when the rendered text is taken apart again."""


def texts_of(rankings: Iterable[Ranking]) -> Iterable[str]:
    """Yield all texts of rankings: every turn, every answer."""
    for ranking in rankings:
        yield from (message.content for message in ranking.messages)
        yield from ranking.answers


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of at most `vocab_size` entries; the same texts give the same file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, PAD, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers publishes no types
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=TURN_END,
        pad_token=PAD,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def render(tokenizer: PreTrainedTokenizerFast, messages: Iterable[Message], answer: str) -> str:
    """Write a conversation and an answer in the tokenizer's own chat template."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    turns.append({"role": "assistant", "content": answer})
    return str(tokenizer.apply_chat_template(turns, tokenize=False))

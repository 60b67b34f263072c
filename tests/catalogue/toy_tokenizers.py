"""Small tokenizer folders that give control tokens the ids which published models give them.

Byte-level BPE and Unigram, written as `tokenizer.json` by hand, so that ids may have gaps between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+"
"""Words with what stands before them, numbers, signs, line breaks together: as Llama-3 and Qwen split text."""

LLAMA3 = {
    "<|begin_of_text|>": 128000,
    "<|end_of_text|>": 128001,
    "<|reserved_special_token_1|>": 128003,
    "<|start_header_id|>": 128006,
    "<|end_header_id|>": 128007,
    "<|eot_id|>": 128009,
}
QWEN = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<extra_0>": 151651}
GEMMA = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<start_of_turn>": 106, "<end_of_turn>": 107}

LLAMA3_TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|start_header_id|>{{ m.role }}"
    "<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
QWEN_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def llama3(folder: Path, **config: Any) -> None:
    """Llama-3's control tokens; `assistant` and a double line break have their published ids, too."""
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": LLAMA3_TEMPLATE}
    write_byte_level(folder, LLAMA3, {"assistant": 78191, "\n\n": 271}, named | config)


def qwen(folder: Path, **config: Any) -> None:
    """Qwen2.5's and Qwen3's control tokens; no BOS."""
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": QWEN_TEMPLATE}
    write_byte_level(folder, QWEN, {"assistant": 77091}, named | config)


def qwen_math(folder: Path) -> None:
    """Qwen2.5-Math's as Skywork's process models ship it: a BOS that nothing adds, the published line breaks."""
    named = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    pieces = {"\n": 198, ".\n": 624, "\n\n": 271, ".\n\n": 382, " The": 576}
    write_byte_level(folder, QWEN, pieces, named | {"chat_template": QWEN_TEMPLATE})


def yi(folder: Path) -> None:
    """Yi-34B-Chat's control tokens; BOS is there and added by nobody."""
    control = {"<unk>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2, "<|im_start|>": 6, "<|im_end|>": 7}
    write_byte_level(folder, control, {}, {"bos_token": "<|startoftext|>", "eos_token": "<|im_end|>"})


def gemma(folder: Path, **config: Any) -> None:
    """Gemma-2's control tokens."""
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "chat_template": GEMMA_TEMPLATE}
    write_byte_level(folder, GEMMA, {"model": 2516, "\n": 108}, named | config)


def write_byte_level(folder: Path, control: Mapping[str, int], pieces: Mapping[str, int], config: Any) -> None:
    """Writes byte-level BPE: the bytes, the pieces and what they are merged from, and control tokens by id."""
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    taken = {*control.values(), *pieces.values()}
    free = (token_id for token_id in range(300, 200_000) if token_id not in taken)
    vocab: dict[str, int] = {}
    merges: list[tuple[str, str]] = []
    for piece, token_id in pieces.items():
        ((written, _),) = pre.pre_tokenize_str(piece)
        for end in range(2, len(written) + 1):
            merge = (written[: end - 1], written[end - 1])
            if merge not in merges:
                merges.append(merge)
            if written[:end] != written:
                vocab.setdefault(written[:end], next(free))
        vocab[written] = token_id
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab.setdefault(byte, next(free))
    vocab |= control
    added = [_added(text, token_id) for text, token_id in sorted(control.items(), key=lambda item: item[1])]
    model = {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": False, "fuse_unk": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    _write(
        folder,
        {
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "decoder": byte_level,
            "model": model,
        },
        config,
    )


def deberta(folder: Path) -> None:
    """A Unigram tokenizer with DeBERTa-v3's control tokens and normalization; no chat template."""
    control = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    words = [
        "▁",
        "▁what",
        "▁is",
        "▁the",
        "▁a",
        "▁tide",
        "▁answer",
        "▁word",
        "▁sea",
        "▁moon",
        "▁rises",
        "▁falls",
        "▁yes",
        "▁no",
        "▁tell",
        "▁me",
    ]
    letters = [chr(code) for code in range(33, 127)]
    vocab = [[text, 0.0] for text in control] + [[word, -4.0] for word in words] + [[one, -9.0] for one in letters]
    replace = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    _write(
        folder,
        {
            "added_tokens": [_added(text, place) for place, text in enumerate(control)],
            "normalizer": {"type": "Sequence", "normalizers": [strip, replace]},
            "pre_tokenizer": metaspace,
            "decoder": metaspace,
            "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False},
        },
        {"bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
    )


def tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer as the library reads it."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _added(text: str, token_id: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": text, **flags}


def _write(folder: Path, tokenizer_json: dict[str, Any], config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None, **tokenizer_json}
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")

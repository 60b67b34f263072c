"""Three small tokenizer folders, trained here: byte-level ChatML, SentencePiece-like Llama-2, BOS-less Qwen-like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from model_store.manifest import Backbone, Limits, Manifest, Readout, Template
from service.tokenization.encoder import PairEncoder
from service.tokenization.loading import load_encoder
from service.types import Conversation, Message, TokenIds

CORPUS = [
    "The tide is the rise and fall of the sea. What is a tide? Why does the sea rise?",
    "user assistant system [INST] [/INST] Hello there, how can I help you? Hi, I am well.",
    "Some words are long, some are short, and numbers such as 1, 12 and 2024 are words too.",
    "« être » und Straße, 文字 and emoji 🙂 stand beside (parentheses) and [brackets].\n\n",
] * 3

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant') }}"
    "{% endif %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last and '</think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

HELLO = (Message("user", "Hello there?"),)


def write_chatml(folder: Path, **config: Any) -> Path:
    """Byte-level BPE; PAD, EOS and BOS are three ids; the template writes no BOS."""
    tokenizer = _byte_level(["<pad>", "<|bos|>", "<|im_start|>", "<|im_end|>"])
    named = {"bos_token": "<|bos|>", "eos_token": "<|im_end|>", "pad_token": "<pad>", "chat_template": CHATML}
    return _write(folder, tokenizer, named | config)


def write_qwen(folder: Path) -> Path:
    """Byte-level BPE with NFC, no BOS, and `<think>` as added tokens that are not special."""
    tokenizer = _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    named = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": QWEN}
    return _write(folder, tokenizer, named)


def write_llama2(folder: Path) -> Path:
    """BPE over whole texts, a space put in front by the normaliser, bytes where characters are unknown."""
    control = ["<unk>", "<s>", "</s>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=control, show_progress=False)
    trained.train_from_iterator([line.replace("文", "").replace("🙂", "") for line in CORPUS], trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = [*control, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [piece for piece in model["vocab"] if piece not in control]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=[tuple(merge) for merge in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in control])
    return _write(folder, tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "chat_template": LLAMA2})


def vocab_size(folder: Path) -> int:
    """How many ids the folder's tokenizer has."""
    return raw(folder).get_vocab_size()


def raw(folder: Path) -> Tokenizer:
    """The folder's tokenizer as the library reads it: the oracle."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def id_of(folder: Path, token: str) -> int:
    """The id of a token that the folder's tokenizer has."""
    token_id: int | None = raw(folder).token_to_id(token)
    if token_id is None:
        raise KeyError(token)
    return token_id


def raw_ids(folder: Path, text: str) -> tuple[int, ...]:
    """What the library itself makes of a text, control strings parsed, nothing added."""
    return tuple(raw(folder).encode(text, add_special_tokens=False).ids)


def encoder(
    folder: Path,
    *,
    max_tokens: int = 512,
    chunk_tokens: int = 512,
    readout: Readout | None = None,
    truncation_side: str = "none",
    **template: Any,
) -> PairEncoder:
    """An encoder for a folder; `template` holds fields of the manifest's `Template`."""
    manifest = Manifest(
        "tiny",
        Backbone("llama"),
        readout=readout or Readout(),
        template=Template(**template),
        limits=Limits(truncation_side=truncation_side),
    )
    return load_encoder(
        folder, manifest, vocab_size=vocab_size(folder), max_tokens=max_tokens, chunk_tokens=chunk_tokens
    )


def say(prompt: str, response: str = "Hi, I am well.") -> Conversation:
    """One user turn and its response."""
    return Conversation((Message("user", prompt),), response)


def as_ids(ids: tuple[int, ...], prompt_tokens: int) -> TokenIds:
    """The same tokens sent as ids."""
    return TokenIds(ids[:prompt_tokens], ids[prompt_tokens:])


def _byte_level(control: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=control, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _write(folder: Path, tokenizer: Tokenizer, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder

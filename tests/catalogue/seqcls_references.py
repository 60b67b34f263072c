"""Sequence classification with one label: `score.weight` over the state at the last token that is not padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tests.catalogue import reference as ref
from tests.catalogue import toy_tokenizers as toys
from tests.catalogue.reference import Reference, State, Turns
from tests.tokenization.tiny_tokenizers import write_llama2

LLAMA3_BOS = "<|begin_of_text|>"
GEMMA2 = {
    "head_dim": 8,
    "query_pre_attn_scalar": 16,
    "attn_logit_softcapping": 2.0,
    "sliding_window": 32,
    "attn_implementation": "eager",
}


def llama3_text(turns: Turns) -> str:
    """Llama-3's published format, without BOS."""
    return "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text.strip()}<|eot_id|>" for role, text in turns)


def gemma_text(turns: Turns) -> str:
    """Gemma's published format, without BOS."""
    names = {"assistant": "model"}
    return "".join(f"<start_of_turn>{names.get(role, role)}\n{text.strip()}<end_of_turn>\n" for role, text in turns)


def qwen_text(turns: Turns) -> str:
    """ChatML with Qwen2.5's own system turn where there is none."""
    system = [] if turns[0][0] == "system" else [("system", "You are a helpful assistant.")]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in (*system, *turns))


def mistral_text(turns: Turns) -> str:
    """The toy Llama-2-like template of `write_llama2`, BOS left out; Mistral's own differs in spaces only."""
    return "".join(
        f"[INST] {text.strip()} [/INST]" if role == "user" else f" {text.strip()} </s>" for role, text in turns
    )


def write(family: str, *, pad_id: int | None, **fields: Any) -> Callable[[Path, int], State]:
    def write_one(folder: Path, vocab_size: int) -> State:
        config, state = ref.random_backbone(family, vocab_size, "model.", **fields)
        state["score.weight"] = ref.random_tensor(3, 1, 32)
        pad = pad_id if pad_id is not None and pad_id < vocab_size else None
        return ref.save(
            folder, config, state, pad_token_id=pad, num_labels=1, architectures=["ForSequenceClassification"]
        )

    return write_one


def score(family: str, place: Callable[[Sequence[int], int], int], pad_id: int, **fields: Any) -> Any:
    """Pads with the config's pad id, finds the place among all ids of the row by a rule, reads there."""

    def score_one(state: State, ids: Sequence[int], vocab_size: int) -> float:
        hidden = ref.padded_hidden(family, state, "model.", ids, vocab_size, pad_id, **fields)
        row = [*ids, *[pad_id] * (len(hidden) - len(ids))]
        return float((hidden @ state["score.weight"].T)[place(row, pad_id), 0])

    return score_one


def before_first_pad(row: Sequence[int], pad_id: int) -> int:
    """Transformers before 4.50: `(first equal to pad) - 1`, modulo the row's length; no pad at all gives -1, too."""
    first = row.index(pad_id) if pad_id in row else 0
    return (first - 1) % len(row)


def rightmost_not_pad(row: Sequence[int], pad_id: int) -> int:
    """Transformers since 4.50: the largest position whose id is not pad."""
    return max(place for place, token in enumerate(row) if token != pad_id)


def _leading(text: Callable[[Turns], str], bos: str, num_bos: int) -> Callable[[Tokenizer, Turns], list[int]]:
    def ids(toy: Tokenizer, turns: Turns) -> list[int]:
        return ref.encode(toy, bos * num_bos + text(turns))

    return ids


def _deleted(text: Callable[[Turns], str], bos: str) -> Callable[[Tokenizer, Turns], list[int]]:
    """RLHFlow: every BOS text goes, from user text, too; then one BOS in front."""

    def ids(toy: Tokenizer, turns: Turns) -> list[int]:
        bos_id = toy.token_to_id(bos)
        return [bos_id, *ref.encode(toy, text(turns).replace(bos, ""))]

    return ids


def tulu_text(turns: Turns) -> str:
    """Tulu-3's format: no BOS, an end of text behind the assistant's last turn, line breaks between turns."""
    parts = []
    for place, (role, text) in enumerate(turns):
        is_last = place == len(turns) - 1
        if role == "assistant":
            parts.append(f"<|assistant|>\n{text}<|end_of_text|>" + ("" if is_last else "\n"))
        else:
            parts.append(f"<|{role}|>\n{text}\n")
    return "".join(parts)


TULU_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n{{ m.content }}{{ eos_token }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% else %}<|{{ m.role }}|>\n{{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def _tulu_tokenizer(folder: Path) -> None:
    toys.llama3(folder, eos_token="<|end_of_text|>", chat_template=TULU_TEMPLATE)


def _mistral_tokenizer(folder: Path) -> None:
    write_llama2(folder)


LLAMA3_VOCAB = 128_260
LLAMA3_PAD = 128_256
QWEN_VOCAB = 151_670
QWEN_PAD = 151_643
LLAMA3_SPECIALS = "Ignore <|eot_id|> and <|begin_of_text|> and <|end_of_text|>."

REFERENCES = (
    Reference(
        entries=tuple(f"skywork-reward-v2-qwen3-{size}" for size in ("0.6b", "1.7b", "4b", "8b")),
        write=write("qwen3", pad_id=QWEN_PAD, head_dim=16, tie_word_embeddings=True),
        write_tokenizer=toys.qwen,
        ids=_leading(qwen_text, "", 0),
        score=score("qwen3", rightmost_not_pad, QWEN_PAD, head_dim=16),
        vocab_size=QWEN_VOCAB,
        specials="Ignore <|im_end|> and <|endoftext|>.",
    ),
    Reference(
        entries=tuple(f"skywork-reward-v2-llama-{size}" for size in ("3.1-8b", "3.1-8b-40m", "3.2-1b", "3.2-3b")),
        write=write("llama", pad_id=LLAMA3_PAD),
        write_tokenizer=toys.llama3,
        ids=_leading(llama3_text, LLAMA3_BOS, 1),
        score=score("llama", rightmost_not_pad, LLAMA3_PAD),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
        positions=2048,
    ),
    Reference(
        entries=("skywork-reward-llama-3.1-8b-v0.2", "skywork-reward-llama-3.1-8b"),
        write=write("llama", pad_id=128_001),
        write_tokenizer=toys.llama3,
        ids=_leading(llama3_text, LLAMA3_BOS, 1),
        score=score("llama", before_first_pad, 128_001),  # a pad that occurs in text stops the reading there
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("skywork-reward-gemma-2-27b-v0.2", "skywork-reward-gemma-2-27b"),
        is_slow=True,
        write=write("gemma2", pad_id=0, **GEMMA2),
        write_tokenizer=toys.gemma,
        ids=_leading(gemma_text, "<bos>", 1),
        score=score("gemma2", before_first_pad, 0, **GEMMA2),
        vocab_size=3000,
        specials="Ignore <end_of_turn> and <bos> and <pad>.",
    ),
    Reference(
        entries=("fsfairx-llama3-rm-v0.1",),
        write=write("llama", pad_id=LLAMA3_PAD),
        write_tokenizer=toys.llama3,
        ids=_deleted(llama3_text, LLAMA3_BOS),
        score=score("llama", before_first_pad, LLAMA3_PAD),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("rm-mistral-7b",),
        write=write("mistral", pad_id=600, sliding_window=64),
        write_tokenizer=_mistral_tokenizer,
        ids=lambda toy, turns: [1, *ref.encode(toy, mistral_text(turns).replace("<s>", ""))],
        score=score("mistral", before_first_pad, 600, sliding_window=64),
        vocab_size=601,
        specials="Ignore </s> and <s>.",
    ),
    Reference(
        entries=("reward-model-mistral-7b-unified-feedback",),
        write=write("mistral", pad_id=None, sliding_window=None),
        write_tokenizer=_mistral_tokenizer,
        ids=lambda toy, turns: [1, *ref.encode(toy, mistral_text(turns).replace("[INST]", "<s>[INST]"))],
        score=score("mistral", before_first_pad, 600, sliding_window=None),
        vocab_size=601,
        specials="Ignore </s> and <s>.",
    ),
    Reference(
        entries=("grm-llama3-8b-rewardmodel-ft",),
        write=write("llama", pad_id=LLAMA3_PAD),
        write_tokenizer=toys.llama3,
        ids=_leading(llama3_text, LLAMA3_BOS, 2),
        score=score("llama", before_first_pad, LLAMA3_PAD),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=("llama-3.1-tulu-3-8b-rm",),
        write=write("llama", pad_id=LLAMA3_PAD),
        write_tokenizer=_tulu_tokenizer,
        ids=_leading(tulu_text, LLAMA3_BOS, 1),
        score=score("llama", before_first_pad, LLAMA3_PAD),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
    Reference(
        entries=tuple(
            f"llama-3.1-{name}-rm-rb2"
            for name in ("8b-instruct", "8b-base", "tulu-3-8b-sft", "tulu-3-8b-dpo", "tulu-3-8b-rl")
        ),
        write=write("llama", pad_id=LLAMA3_PAD),
        write_tokenizer=toys.llama3,
        ids=_leading(llama3_text, LLAMA3_BOS, 1),
        score=score("llama", before_first_pad, LLAMA3_PAD),
        vocab_size=LLAMA3_VOCAB,
        specials=LLAMA3_SPECIALS,
    ),
)

"""A manifest says exactly how one reward model is loaded and read: a TOML file, as frozen dataclasses.

Every way in which public reward models differ is a field here, so that a new model is a file and not a patch.
Parsing and validation live in `manifest_toml.py`. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class ReadoutKind(StrEnum):
    """Where the head reads. All are functions of a pair's ids alone."""

    LAST_TOKEN = "last_token"
    """The last token."""
    RIGHTMOST_NOT_ID = "rightmost_not_id"
    """The rightmost token whose id is not `token_id`: what transformers 5's sequence classification does."""
    BEFORE_FIRST_ID = "before_first_id"
    """The token before the first `token_id`, else the last: what transformers 4 and Starling-34B do."""
    FIXED_SLOT = "fixed_slot"
    """The last slot of a row padded to `slot` with `token_id`: a probe at position `slot - 1`, or the last
    token of a text that fills the row. Starling-RM-7B-alpha's published code."""


@dataclass(frozen=True, slots=True)
class Readout:
    """`token_id` and `slot` are needed by the kinds that name them, and None otherwise."""

    kind: ReadoutKind = ReadoutKind.LAST_TOKEN
    token_id: int | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Backbone:
    """Which transformers family computes the hidden states, and how its weights are named in the files.

    Attributes:
        family: transformers' `model_type`: `llama`, `mistral`, `qwen2`, `qwen3`.
        prefix: What stands before the backbone's own names, such as `model.`.
        aliases: Further prefixes under which the files may hold the same tensors (of a class that registers
            its backbone twice); each tensor may stand under any of them, and all its copies must be equal.
        ignored: Names (or endings, written `*.name`) known to be left over in the published files.
    """

    family: str
    prefix: str = "model."
    aliases: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """How hidden states become numbers, always in fp32.

    Attributes:
        kind: `linear` (one output).
        weight: Name of the weight, shape (outputs, hidden).
        bias: Name of the bias, or None where there is none.
    """

    kind: str = "linear"
    weight: str = "score.weight"
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """How a conversation becomes token ids.

    Attributes:
        jinja: The chat template; None takes the tokenizer's own.
        cut_after: Texts that open an assistant turn; chunks are cut after each occurrence of their ids.
        user_specials: `escape` encodes control strings in user text as plain text, `parse` as control tokens.
        bos: `one` exactly one BOS in front whatever the template writes; `none` no BOS; `double` two of them
            (a template that writes it, tokenized with specials on); `strip` the template's BOS text is
            removed and the tokenizer adds its own.
        eos: `template` nothing beyond what the template writes; `append` one EOS unless it is there already;
            `none` a closing EOS that the template writes is removed.
        max_user_turns: More user turns than this are refused as `bad_conversation`; None for no limit.
    """

    jinja: str | None = None
    cut_after: tuple[str, ...] = ()
    user_specials: str = "escape"
    bos: str = "one"
    eos: str = "template"
    max_user_turns: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a pair may be, in tokens, and what the model's authors do with longer ones.

    Attributes:
        max_tokens: The most tokens a pair may have; None takes the config's `max_position_embeddings`.
        truncation_side: `left` or `right`, with BOS kept, for the policy `model`; `none` if authors refuse.
    """

    max_tokens: int | None = None
    truncation_side: str = "none"


@dataclass(frozen=True, slots=True)
class Output:
    """What is done to the head's value: `raw`, or `affine` (`value * scale + shift`)."""

    kind: str = "raw"
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a golden pair's prompt."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class GoldenPair:
    """A pair whose score is known. `source` says who printed it."""

    name: str
    prompt: tuple[Turn, ...]
    response: str
    score: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden pairs, and how far a score may lie from them in each dtype (`float32`, `bfloat16`, …)."""

    pairs: tuple[GoldenPair, ...] = ()
    tolerance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files come from.

    Attributes:
        repository: Hugging Face id, or None.
        revision: Commit of that repository, or None for its newest.
        package_folder: Folder under `model_store/weights` for models we ship, or None.
        tokenizer_repository: Where the tokenizer lies if not beside the weights.
    """

    repository: str | None = None
    revision: str | None = None
    package_folder: str | None = None
    tokenizer_repository: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that decides what number a pair gets, and what is known about the model.

    Attributes:
        name: The catalogue name.
        dtype: The backbone's default dtype: `float32` or `bfloat16`.
        files: sha256 (hex) of each file by its relative name; empty where not pinned.
        notes: Free facts by name: recipe, held-out figures, licence conditions.
        guesses: For a guessed manifest, what was guessed and how sure it is, in words; else empty.
    """

    name: str
    backbone: Backbone
    head: Head = field(default_factory=Head)
    readout: Readout = field(default_factory=Readout)
    template: Template = field(default_factory=Template)
    limits: Limits = field(default_factory=Limits)
    output: Output = field(default_factory=Output)
    golden: Golden = field(default_factory=Golden)
    origin: Origin = field(default_factory=Origin)
    dtype: str = "float32"
    title: str = ""
    licence: str = ""
    is_verified: bool = False
    files: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    guesses: tuple[str, ...] = ()

"""A manifest says exactly how one reward model is loaded and read: a TOML file, as frozen dataclasses.

Every way in which public reward models differ is a field here. Parsing and validation live in `manifest_toml.py`.
Standard library only.
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
    LAST_OF_ID = "last_of_id"
    """The last occurrence of `token_id`; a pair without one is refused."""
    APPENDED_ID = "appended_id"
    """`token_id`, put behind the pair unless it ends with it, after any truncation: Athene, InternLM2."""
    EVERY_ID = "every_id"
    """Every occurrence of `token_id`, one value each: process models. A pair without one is refused."""
    FIRST_TOKEN = "first_token"
    """The first token: the CLS of an encoder."""
    FIXED_SLOT = "fixed_slot"
    """The last slot of a row padded to `slot` with `token_id`: a probe there, or a full row's last. Starling-7B."""


@dataclass(frozen=True, slots=True)
class Readout:
    """Where the head reads.

    Attributes:
        token_id: The id that the kind names, and None for other kinds.
        token_key: The key of config.json that holds `token_id` instead; where the config holds none,
            `rightmost_not_id` and `before_first_id` mean the last token.
        slot: The row's length for `fixed_slot`, and None otherwise.
        in_response: For `every_id`, whether only occurrences in the response count.
        gate_marker: Ids that open the assistant's turn; a gate reads where their last occurrence begins.
    """

    kind: ReadoutKind = ReadoutKind.LAST_TOKEN
    token_id: int | None = None
    token_key: str | None = None
    slot: int | None = None
    in_response: bool = False
    gate_marker: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Backbone:
    """Which transformers family computes the hidden states, and how its weights are named in the files.

    Attributes:
        family: transformers' `model_type`; those that can be served are in `families.py`.
        prefix: What stands before the backbone's own names, such as `model.`.
        aliases: Further prefixes under which the files may hold the same tensors (of a class that registers
            its backbone twice); each tensor may stand under any of them, and all its copies must be equal.
        ignored: Names (or endings, written `*.name`) known to be left over in the published files.
        side_files: Files of tensors beside the weights, and what their names are put behind here.
        model_type: What config.json calls the model, where that is not the family.
        layout: How the files name and cut the family's tensors: `standard`, or `internlm2`.
        expects: What config.json must say for the manifest to fit, by key, as JSON text (`"true"`, `"\"mlp\""`).
    """

    family: str
    prefix: str = "model."
    aliases: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    side_files: dict[str, str] = field(default_factory=dict)
    model_type: str | None = None
    layout: str = "standard"
    expects: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """One linear layer of a head: `norm(activation(x @ weight.T + bias))`.

    Attributes:
        weight: Name of the weight, shape (outputs, inputs).
        bias: Name of the bias, or None where there is none.
        outputs: How many; None for as many as there are inputs.
        outputs_key: The key of config.json that says `outputs` instead, where it is there.
        activation: `none`, `relu`, `leaky_relu`, `gelu`, `silu`, `tanh` or `selu`.
        norm: Prefix of a batch normalization's tensors (`weight`, `bias`, `running_mean`, `running_var`), which
            is applied as in evaluation, so that it never depends on a batch; None where there is none.
    """

    weight: str
    bias: str | None = None
    outputs: int | None = None
    outputs_key: str | None = None
    activation: str = "none"
    norm: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """How much each objective counts: `softmax(layers / temperature)` of the hidden state at the readout's gate marker,
    or where the score is read, if there is no marker.

    Attributes:
        softmax: Whether there is a softmax at all; without one the layers' outputs are the weights.
        softmax_key: The key of config.json that says `softmax` instead, where it is there.
        temperature_key: The key of config.json that says `temperature` instead, where it is there.
        scale: Name of a tensor of one number that the weights are multiplied by, or None.
    """

    layers: tuple[Layer, ...]
    temperature: float = 1.0
    temperature_key: str | None = None
    softmax: bool = True
    softmax_key: str | None = None
    scale: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """How hidden states become numbers, always in fp32.

    Attributes:
        kind: `linear`; `mlp`: `layers` in order; `vocabulary`: the `rows` of an output embedding, one output
            each; `gated`: a linear layer, or `layers`, to the objectives, weighed by `gate`.
        weight: Name of the weight, shape (outputs, hidden). Not used where there are `layers`.
        bias: Name of the bias, or None where there is none.
        layers: The layers of an `mlp`, or of a `gated` head that has several.
        rows: Token ids whose logits a `vocabulary` head gives.
        objectives: Names of the outputs, where there are several that mean something by themselves.
        gate: For `gated`.
        transform: For `gated`, name of a matrix (objectives, objectives) that the values are multiplied by from
            the right before they are weighed, or None.
        quantiles: For `gated`, values of each objective, whose mean counts. `quantiles_key` is the key of
            config.json that says it instead, where it is there.
        bins: For `gated`, how many logits each objective has: a distribution over so many points, evenly from 0 to 1,
            whose expectation counts. 0 where there are none.
        spreads: For `gated`, whether each objective has a mean, which counts, and a spread beside it, which does not.
        norm: Prefix of a normalizer's `mean` and `var`, of one number each, or None; see `Output.kind`.
    """

    kind: str = "linear"
    weight: str = "score.weight"
    bias: str | None = None
    layers: tuple[Layer, ...] = ()
    rows: tuple[int, ...] = ()
    objectives: tuple[str, ...] = ()
    gate: Gate | None = None
    transform: str | None = None
    quantiles: int = 1
    quantiles_key: str | None = None
    bins: int = 0
    spreads: bool = False
    norm: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """How a conversation becomes token ids.

    Attributes:
        jinja: The chat template; None takes the tokenizer's own.
        cut_after: Texts that open an assistant turn; chunks are cut after each occurrence of their ids.
        user_specials: `escape` encodes control strings in user text as plain text, `parse` as control tokens.
        bos: `one` exactly one BOS in front whatever the template writes; `none` no BOS; `double` two of them
            (a template that writes it, tokenized with specials on); `strip` the template's BOS text is
            removed wherever it stands and the tokenizer adds its own; `template` what the template writes.
        eos: `template` nothing beyond what the template writes; `append` one EOS unless it is there already;
            `none` a closing EOS that the template writes is removed.
        max_user_turns: More user turns than this are refused as `bad_conversation`; None for no limit.
        step_mark: For process models, what is written behind each step of a response that does not hold it
            already; None for others.
        step_separator: What the caller writes between steps; the mark takes its place, if it is another text.
        piecewise: Whether what stands before the response, each step, and each mark are tokenized by themselves.
    """

    jinja: str | None = None
    cut_after: tuple[str, ...] = ()
    user_specials: str = "escape"
    bos: str = "one"
    eos: str = "template"
    max_user_turns: int | None = None
    step_mark: str | None = None
    step_separator: str = "\n\n"
    piecewise: bool = False


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
    """What is done to the head's outputs to make the one score.

    Attributes:
        kind: Of one output: `raw`; `affine` (`value * scale + shift`); `sigmoid`; `negate`; `standardized`
            (`(value - mean) / (sqrt(var) + 1e-8)` by the head's normalizer) or `scaled` (the same without the
            mean). Of several: `weighted_sum`; `probability` (softmax over the outputs, the one at `index`).
        scale, shift: For `affine`.
        weights: For `weighted_sum`, one for each output.
        index: For `probability`.
        steps: How a process model's values become one score: `last`, `min`, `product` or `mean`; empty for others.
        lower_is_better: Whether a lower score is the better one (cost models). It is said, never negated unasked.
    """

    kind: str = "raw"
    scale: float = 1.0
    shift: float = 0.0
    weights: tuple[float, ...] = ()
    index: int = 0
    steps: str = ""
    lower_is_better: bool = False


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

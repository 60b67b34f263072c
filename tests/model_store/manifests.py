"""Manifests for tests: one that says everything, and one that says the least."""

from __future__ import annotations

from model_store.manifest import (
    Backbone,
    Gate,
    Golden,
    GoldenPair,
    Head,
    Layer,
    Limits,
    Manifest,
    Origin,
    Output,
    Readout,
    ReadoutKind,
    Template,
    Turn,
)

MINIMAL = Manifest(name="least", backbone=Backbone(family="llama"))

FULL = Manifest(
    name="everything",
    backbone=Backbone(
        "mistral",
        prefix="",
        aliases=("model.model.",),
        ignored=("*.inv_freq", "lm_head.weight"),
        side_files={"gate.pt": "gate."},
        expects={"do_x": '"y"'},
    ),
    head=Head(
        kind="gated",
        weight="regression.weight",
        bias="regression.bias",
        objectives=("help", "safety"),
        gate=Gate(
            (Layer("gate.0.weight", "gate.0.bias", 16, "gate_size", "relu", "gate.1"), Layer("gate.2.weight")),
            temperature=10.0,
            temperature_key="gate_temperature",
            softmax=False,
            softmax_key="gate_softmax",
            scale="gate.scale",
        ),
        transform="transform",
        quantiles=3,
        quantiles_key="num_quantiles",
        norm="normalizer",
    ),
    readout=Readout(ReadoutKind.FIXED_SLOT, token_id=0, slot=2048, gate_marker=(1, 2)),
    template=Template(
        jinja='{% for m in messages %}\n\t"{{ m }}" \\n\r\n{% endfor %}\n\'\'\'"""',
        cut_after=("[/INST]", "<|im_start|>assistant\n"),
        user_specials="parse",
        bos="double",
        eos="append",
        max_user_turns=1,
        step_mark="<step>",
        step_separator="\n",
    ),
    limits=Limits(max_tokens=2048, truncation_side="left"),
    output=Output(kind="standardized", lower_is_better=True),
    golden=Golden(
        pairs=(
            GoldenPair("hello", (Turn("system", "Be\nkind."), Turn("user", "Hello?")), "Hi!", -3.4342, "notebook"),
            GoldenPair("empty", (Turn("user", "?"),), "", 1e22),
        ),
        tolerance={"float32": 1e-3, "bfloat16": 0.1},
    ),
    origin=Origin(
        repository="berkeley-nest/Starling-RM-7B-alpha",
        revision="main",
        package_folder="demo",
        tokenizer_repository="meta-llama/Llama-2-7b-chat-hf",
    ),
    dtype="bfloat16",
    title='A "title" with ünïcode',
    licence="Apache-2.0",
    is_verified=True,
    files={"model.safetensors": "a" * 64, "sub/tokenizer.json": "0123456789abcdef" * 4},
    notes={"held-out accuracy": "0.9", "recipe": "line one\nline two\n"},
    guesses=("a guess (sure)",),
)
"""Every field that the others allow is set; the rest is in `PROCESS` and `AFFINE`."""

PROCESS = Manifest(
    name="process",
    backbone=Backbone("qwen2"),
    head=Head(
        kind="mlp",
        layers=(Layer("score.0.weight", "score.0.bias", activation="relu"), Layer("score.2.weight", outputs=2)),
        objectives=("bad", "good"),
    ),
    readout=Readout(ReadoutKind.EVERY_ID, token_key="step_token_id", in_response=True),
    template=Template(user_specials="parse", step_mark="\n", step_separator="\n", piecewise=True),
    output=Output(kind="probability", index=1, steps="min"),
)

BINS = Manifest(
    name="bins",
    backbone=Backbone("gemma2"),
    head=Head(kind="gated", layers=(Layer("a.weight"),), objectives=("one",), gate=Gate((Layer("b.weight"),)), bins=10),
)

SPREADS = Manifest(
    name="spreads",
    backbone=Backbone("llama"),
    head=Head(kind="gated", objectives=("one",), gate=Gate((Layer("b.weight"),)), spreads=True),
)

AFFINE = Manifest(
    name="affine",
    backbone=Backbone("llama", model_type="internlm2", layout="internlm2"),
    output=Output(kind="affine", scale=0.5, shift=-1e-30),
)

WEIGHTED = Manifest(
    name="weighted",
    backbone=Backbone("llama"),
    head=Head(kind="vocabulary", weight="lm_head.weight", rows=(0, 7)),
    output=Output(kind="weighted_sum", weights=(0.25, -1.0)),
)

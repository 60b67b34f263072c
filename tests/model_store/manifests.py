"""Manifests for tests: one that says everything, and one that says the least."""

from __future__ import annotations

from model_store.manifest import (
    Backbone,
    Golden,
    GoldenPair,
    Head,
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
    backbone=Backbone("mistral", prefix="", aliases=("model.model.",), ignored=("*.inv_freq", "lm_head.weight")),
    head=Head(weight="v_head.weight", bias="v_head.bias"),
    readout=Readout(ReadoutKind.FIXED_SLOT, token_id=0, slot=2048),
    template=Template(
        jinja='{% for m in messages %}\n\t"{{ m }}" \\n\r\n{% endfor %}\n\'\'\'"""',
        cut_after=("[/INST]", "<|im_start|>assistant\n"),
        user_specials="parse",
        bos="double",
        eos="append",
        max_user_turns=1,
    ),
    limits=Limits(max_tokens=2048, truncation_side="left"),
    output=Output(kind="affine", scale=0.5, shift=-1e-30),
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
"""No field has its default."""

"""Writes the demo model's manifest from what its build left: `python -m training.demo_manifest`.

Takes `recipe.json` beside the weights (seed, data, held-out figures) for the notes, scores the golden pairs with
transformers' own forward in fp32, one at a time, and pins the sha256 of every file. Knows nothing of serving.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from model_store.catalogue import ENTRIES
from model_store.integrity import hash_folder
from model_store.manifest import Golden, GoldenPair, Manifest, Turn
from model_store.manifest_toml import read_manifest, render_manifest
from model_store.sources import SHIPPED
from service.types import Message
from training.tokenizer import render
from training.train import load_folder

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}
"""How far a served score may lie from the plain fp32 forward: in fp32 the rounding of another order of the same sums,
on any processor (2e-5 at most was seen on one); in bf16 the rounding of each layer's states to 8 bits, on scores
that spread by about 3."""

HEADER = (
    "# The model that ships with the package. Written by `python -m training.demo_manifest`; edit that, not this.\n"
)

PAIRS: tuple[tuple[str, str, str], ...] = (
    ("sum, right", "What is 2+2?", "2+2 is 4."),
    ("sum, rude", "What is 2+2?", "Figure it out yourself, you fool."),
    (
        "kettle, good",
        "How do I clean a kettle?",
        "Fill the kettle with water and vinegar, boil it, and rinse it twice.",
    ),
    ("kettle, gibberish", "How do I clean a kettle?", "kettle qwpo zzxv lkj fill asdf the the vinegar mnb."),
    ("empty response", "Say something about otters.", ""),
)
"""Golden pairs: name, prompt, response. Between them they touch words, digits, control tokens and an empty turn."""


def golden_pairs(folder: Path) -> tuple[GoldenPair, ...]:
    """Each pair with its score by a plain forward of the checkpoint in `folder`."""
    model, tokenizer = load_folder(folder)
    source = "transformers, fp32, one pair at a time, when the model was built"
    with torch.inference_mode():
        return tuple(
            GoldenPair(
                name, (Turn("user", prompt),), response, _plain_score(model, tokenizer, prompt, response), source
            )
            for name, prompt, response in PAIRS
        )


def _plain_score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str, response: str) -> float:
    text = render(tokenizer, [Message("user", prompt)], response)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return float(model(input_ids=ids).logits[0, 0])


def notes_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The recipe and the held-out figures in words."""
    data, loss = recipe["data"], recipe["loss"]
    notes = {
        "recipe": f"{recipe['command']}; {loss['steps']} steps, {recipe['build_minutes']} minutes on a CPU",
        "seed": str(recipe["seed"]),
        "data": f"{data['num_rankings']} generated 7-wise rankings, {data['num_tokens']} tokens",
        "data_sha256": data["sha256"],
        "parameters": str(recipe["num_parameters"]),
    }
    if "tuning" in recipe:
        notes["tuning"] = _tuning_words(recipe["tuning"])
    for name, report in recipe["evaluation"].items():
        notes[f"accuracy_{Path(name).stem}"] = _accuracy_words(report)
    return notes


def _tuning_words(tuning: Mapping[str, Any]) -> str:
    data, loss = tuning["data"], tuning["loss"]
    return (
        f"then {loss['steps']} steps, {tuning['build_minutes']} minutes, on {data['num_rankings']} rankings "
        f"({data['num_tokens']} tokens, sha256 {data['sha256']}), {tuning['exchange_share']:.0%} of their open "
        f"questions exchanges; {tuning['share_back']:.0%} of the way taken back"
    )


def _accuracy_words(report: Mapping[str, Any]) -> str:
    overall = report["overall"]
    interval = f"{overall['low']:.3f}-{overall['high']:.3f}"
    return (
        f"pairwise {overall['accuracy']:.3f} ({interval}) on {overall['num_pairs']} pairs; "
        f"length alone {report['length_only']:.3f}"
    )


def demo_manifest(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with notes, golden pairs and pins of the checkpoint in `folder`."""
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return replace(
        manifest,
        is_verified=True,
        golden=Golden(golden_pairs(folder), dict(TOLERANCE)),
        files=hash_folder(folder),
        notes=notes_of(recipe),
    )


def main() -> None:
    """Rewrites the entry in place."""
    parser = argparse.ArgumentParser(description="Write the demo model's manifest.")
    parser.add_argument("--folder", type=Path, default=SHIPPED / "demo")
    parser.add_argument("--entry", type=Path, default=ENTRIES / "demo.toml")
    args = parser.parse_args()
    manifest = demo_manifest(read_manifest(args.entry), args.folder)
    args.entry.write_text(HEADER + render_manifest(manifest), encoding="utf-8")
    for pair in manifest.golden.pairs:
        print(f"{pair.score:10.5f}  {pair.name}")


if __name__ == "__main__":
    main()

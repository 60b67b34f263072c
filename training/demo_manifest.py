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

from model_store.catalogue import ENTRIES
from model_store.integrity import hash_folder
from model_store.manifest import Golden, GoldenPair, Manifest, Turn
from model_store.manifest_toml import read_manifest, render_manifest
from model_store.sources import SHIPPED
from service.types import Message
from training.evaluate import Scorer, scorer_of
from training.rankings import Ranking
from training.train import load_folder

TOLERANCE = {"float32": 2e-5, "bfloat16": 0.15}
"""How far a served score may lie from the plain fp32 forward: in fp32 rounding of another order of the same sums;
in bf16 the rounding of each layer's states to 8 bits, on scores that spread by about 3."""

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


def golden_pairs(score: Scorer) -> tuple[GoldenPair, ...]:
    """Each pair with its score by a plain forward."""
    source = "transformers, fp32, one pair at a time, when the model was built"
    return tuple(
        GoldenPair(name, (Turn("user", prompt),), response, _score_of(score, prompt, response), source)
        for name, prompt, response in PAIRS
    )


def _score_of(score: Scorer, prompt: str, response: str) -> float:
    rewards = score(Ranking((Message("user", prompt),), (response, response), (1, 2)))
    if rewards is None:
        raise ValueError(f"golden pair {prompt!r} does not fit the model")
    return rewards[0]


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
    for name, report in recipe["evaluation"].items():
        notes[f"accuracy_{Path(name).stem}"] = _accuracy_words(report)
    return notes


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
        golden=Golden(golden_pairs(scorer_of(*load_folder(folder))), dict(TOLERANCE)),
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

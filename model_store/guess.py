"""Guesses the manifest of a plain Hugging Face sequence-classification folder, and says what it guessed.

Reads config.json, tokenizer_config.json and the tensors' names. What transformers' own class computes is
reproduced (`readout`, `head`); what no file says (BOS, truncation) follows common practice. What is taken, how sure
that is and what it rests on is said in words (`guess_facts.py`). Anything that a guess could get wrong without a sign
is refused: remote code, other heads, several labels. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_store.adapter import Adapter
from model_store.errors import SourceError, UnsupportedModel
from model_store.families import INSTEAD_OF, PACKED_FAMILIES
from model_store.guess_facts import (
    FolderFacts,
    about_bos,
    about_dtype,
    about_head,
    about_limits,
    about_readout,
    about_score,
    about_template,
    about_user_text,
    in_all,
)
from model_store.manifest import Backbone, Head, Manifest, Template
from model_store.manifest_rules import check_manifest
from model_store.weights_layout import find_layout, tensor_names

MANIFEST_FILE = "reward-server.toml"
"""The file in a model's folder that says how it is read, so that nothing needs guessing."""

OLD_ROTARY_BUFFERS = "*.rotary_emb.inv_freq"
"""Frequencies that transformers saved with the weights until 4.31; they follow from the config."""

GUESSABLE_FAMILIES = (*PACKED_FAMILIES, "gemma2")
"""Those whose sequence-classification class names its tensors `model.*` and `score.weight`."""

_INSTEAD = f"write a {MANIFEST_FILE} into the folder that says how it is read"


def guess_manifest(
    folder: Path, *, name: str, tokenizer_folder: Path | None = None, adapter: Adapter | None = None
) -> Manifest:
    """Guesses how a folder's model is loaded and read.

    Args:
        folder: Holds config.json and the weights.
        name: What to call the model.
        tokenizer_folder: Holds the tokenizer's files, if they do not lie beside the weights.
        adapter: What is merged into the weights; it makes a sequence classifier of any base, and brings the head.

    Raises:
        SourceError: If config.json is missing or not JSON.
        WeightsError: If there are no weights.
        UnsupportedModel: If the folder is nothing that can be guessed; says why and what to do instead.
    """
    here = _read(folder, tokenizer_folder or folder)
    if adapter is not None:
        here = _adapted(here)
    _refuse_unguessable(here)
    readout, readout_guess = about_readout(here)
    dtype, dtype_guess = about_dtype(here)
    bos, bos_guess = about_bos(here)
    guesses = (
        about_head(here),
        readout_guess,
        dtype_guess,
        about_template(here, _INSTEAD),
        bos_guess,
        about_limits(here),
        about_score(here),
        about_user_text(),
    )
    manifest = Manifest(
        name=name,
        backbone=Backbone(
            family=here.config["model_type"],
            ignored=(OLD_ROTARY_BUFFERS, "lm_head.weight") if adapter is not None else (OLD_ROTARY_BUFFERS,),
        ),
        head=Head(bias="score.bias" if "score.bias" in (here.tensors or ()) else None),
        readout=readout,
        template=Template(bos=bos),
        dtype=dtype,
        guesses=(in_all(guesses), *map(str, guesses)),
    )
    check_manifest(manifest, f"guess for {folder}")
    return manifest


def default_dtype(manifest: Manifest, *, device: str) -> str:
    """The dtype to use where nobody asks for one: the manifest's, but float32 for a guessed model on a CPU.

    Reading bfloat16 weights in float32 loses nothing, and its scores are finer; it takes twice the memory.
    """
    return "float32" if manifest.guesses and device == "cpu" else manifest.dtype


def _read(folder: Path, tokenizer_folder: Path) -> FolderFacts:
    require_config(folder)
    jinja = tokenizer_folder / "chat_template.jinja"
    return FolderFacts(
        where=str(folder),
        config=_read_json(folder / "config.json"),
        tokenizer=_read_json(tokenizer_folder / "tokenizer_config.json"),
        template_file=jinja.read_text(encoding="utf-8") if jinja.is_file() else None,
        tensors=tensor_names(find_layout(folder)),
    )


def _adapted(here: FolderFacts) -> FolderFacts:
    """The same base as a sequence classifier with one label; that the adapter has such a head is checked at loading."""
    config = {name: value for name, value in here.config.items() if name != "id2label"}
    return replace(
        here,
        config=config | {"architectures": ["AdaptedForSequenceClassification"], "num_labels": 1},
        tensors=(here.tensors or frozenset()) | {"score.weight"},
    )


def require_config(folder: Path) -> None:
    """Checks that a folder is a Hugging Face model folder.

    Raises:
        SourceError: If it has no config.json.
    """
    if not (folder / "config.json").is_file():
        raise SourceError(f"{folder}: no config.json; allowed: a Hugging Face model folder (config, weights)")


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    if not isinstance(table, dict):
        raise SourceError(f"{path}: holds {type(table).__name__}; allowed: a table")
    return table


def _refuse_unguessable(here: FolderFacts) -> None:
    config, where = here.config, here.where
    if "auto_map" in config:
        raise UnsupportedModel(
            f"{where}: config.json names remote code (auto_map {config['auto_map']!r}), which is never run,"
            f" so what it computes cannot be guessed; {_INSTEAD}"
        )
    if (family := config.get("model_type")) not in GUESSABLE_FAMILIES:
        allowed = INSTEAD_OF.get(str(family)) or ", ".join(GUESSABLE_FAMILIES)
        raise UnsupportedModel(f"{where}: model_type is {family!r}; allowed: {allowed}")
    architectures = config.get("architectures") or ["nothing"]
    if not architectures[0].endswith("ForSequenceClassification"):
        raise UnsupportedModel(
            f"{where}: architectures names {architectures[0]}; only …ForSequenceClassification can be"
            f" guessed; {_INSTEAD}"
        )
    if (num_labels := _num_labels(config)) != 1:
        raise UnsupportedModel(
            f"{where}: num_labels is {num_labels} (transformers reads 2 where config.json names none);"
            " allowed: 1, a scalar reward"
        )
    if here.tensors is not None and "score.weight" not in here.tensors:
        others = sorted(name for name in here.tensors if not name.startswith("model."))
        raise UnsupportedModel(
            f"{where}: the files hold no score.weight, which is the head's name in transformers' sequence"
            f" classification; besides the backbone they hold: {', '.join(others[:8]) or 'nothing'}; {_INSTEAD}"
        )


def _num_labels(config: Mapping[str, Any]) -> int:
    """The rule of transformers' own configs: `id2label` counts if present, else `num_labels`, else 2."""
    labels = config.get("id2label")
    return int(config.get("num_labels") or 2) if labels is None else len(labels)

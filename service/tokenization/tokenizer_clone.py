"""A tokenizer's `tokenizer.json` with its control tokens under other names, ids unchanged.

A token is renamed wherever the file knows it by text: among the added tokens, in the model's vocabulary
(where a Unigram or WordPiece model would find it in plain text), as the unknown token. Merges that would
build it from plain text go. Works on the parsed JSON alone, as tokenizers 0.20 to 0.23 writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def rename_control_tokens(tokenizer_json: dict[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """Returns a copy of a tokenizer's JSON in which each key of `names` is called by its value.

    Raises:
        TypeError: If the JSON is not laid out as the tokenizers library writes it.
    """
    added_tokens = [_renamed_token(_as_dict(token), names) for token in _as_list(tokenizer_json["added_tokens"])]
    model = dict(_as_dict(tokenizer_json["model"]))
    model["vocab"] = _renamed_vocab(model["vocab"], names)
    if "merges" in model:
        model["merges"] = [merge for merge in _as_list(model["merges"]) if not _touches(merge, names)]
    unk_token = model.get("unk_token")
    if isinstance(unk_token, str):
        model["unk_token"] = names.get(unk_token, unk_token)
    return {**tokenizer_json, "added_tokens": [*added_tokens], "model": model}


def _renamed_token(token: dict[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    content = token["content"]
    return {**token, "content": names.get(content, content)} if isinstance(content, str) else token


def _renamed_vocab(vocab: Json, names: Mapping[str, str]) -> Json:
    if isinstance(vocab, dict):
        return {names.get(piece, piece): token_id for piece, token_id in vocab.items()}
    # A Unigram model lists [piece, log probability]; a piece's place is its id.
    return [_renamed_piece(_as_list(entry), names) for entry in _as_list(vocab)]


def _renamed_piece(entry: list[Json], names: Mapping[str, str]) -> Json:
    piece, log_probability = entry
    return [names.get(piece, piece) if isinstance(piece, str) else piece, log_probability]


def _touches(merge: Json, names: Mapping[str, str]) -> bool:
    # Files written before tokenizers 0.20 hold "left right", later ones [left, right].
    parts = merge.split(" ") if isinstance(merge, str) else [str(part) for part in _as_list(merge)]
    return "".join(parts) in names or any(part in names for part in parts)


def _as_dict(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError(f"tokenizer.json holds a {type(value).__name__} where an object belongs")
    return value


def _as_list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError(f"tokenizer.json holds a {type(value).__name__} where a list belongs")
    return value

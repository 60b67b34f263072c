"""From what a caller gives to the bytes of one pair, and the order in which pairs are best sent.

Each pair is encoded once: its size decides the cut into requests, and its bytes are sent again on a retry.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from reward_client.errors import InvalidPair
from reward_client.values import Pair, PairLike

_FIELDS = tuple(field.name for field in fields(Pair))
_CONTENTS = ("prompt", "response", "prompt_ids", "response_ids", "rendered")
_FORMS = (("prompt", "response"), ("prompt_ids", "response_ids"), ("rendered",))
_ALLOWED = "allowed are prompt and response, prompt_ids and response_ids, or rendered"
_SHAPES = "a pair is a tuple (prompt, response), a Pair, or a mapping with its fields"


@dataclass(frozen=True)
class EncodedPair:
    """A pair ready to be sent.

    Attributes:
        index: Its place in the input of the call.
        id: The caller's name for it.
        group: Equal for pairs that share a prompt (a hash: a collision costs nothing but a cut elsewhere).
        body: Its JSON.
    """

    index: int
    id: str | None
    group: int
    body: bytes


def as_pair(given: PairLike, index: int) -> Pair:
    """Returns what was given as a checked `Pair`.

    Raises:
        InvalidPair: if it has another shape; the message names the place and what is allowed.
    """
    pair = _shaped(given, index)
    present = tuple(name for name in _CONTENTS if getattr(pair, name) is not None)
    if present not in _FORMS:
        raise InvalidPair(f"pair {index} has {' and '.join(present) or 'no content'}; {_ALLOWED}")
    if pair.prompt is not None and not _is_prompt(pair.prompt):
        kind = type(pair.prompt).__name__
        raise InvalidPair(f"pair {index} has a {kind} as prompt; it must be text or a list of messages")
    for name in ("response", "rendered", "id"):
        value = getattr(pair, name)
        if value is not None and not isinstance(value, str):
            raise InvalidPair(f"pair {index} has a {type(value).__name__} as {name}; it must be text")
    return pair


def encode(pair: Pair, index: int) -> EncodedPair:
    """Returns the pair's JSON and its group.

    Raises:
        InvalidPair: if it holds something that JSON cannot, or ids that are not whole numbers.
    """
    try:
        parts = {name: to_json(value) for name, value in _contents(pair).items()}
    except (TypeError, ValueError) as error:
        raise InvalidPair(f"pair {index} cannot be written as JSON: {error}") from error
    body = b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in parts.items()) + b"}"
    shared = next(parts[name] for name in ("prompt", "prompt_ids", "rendered") if name in parts)
    return EncodedPair(index, pair.id, hash(shared), body)


def grouped_order(pairs: Sequence[Pair]) -> list[int]:
    """Returns all indices such that pairs with an equal prompt follow each other, groups by first appearance.

    The server computes a shared prompt once if its pairs arrive together.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(_prompt_key(pair), []).append(index)
    return [index for group in groups.values() for index in group]


def to_json(value: object) -> bytes:
    """Returns compact UTF-8 JSON; text with lone surrogates is escaped, for the server to refuse by name."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _shaped(given: PairLike, index: int) -> Pair:
    if isinstance(given, Pair):
        return given
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in _FIELDS]
        if unknown:
            raise InvalidPair(f"pair {index} has the field {unknown[0]!r}; allowed are {', '.join(_FIELDS)}")
        return Pair(**given)
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return Pair(given[0], given[1])
    raise InvalidPair(f"pair {index} is a {type(given).__name__}; {_SHAPES}")


def _is_prompt(prompt: object) -> bool:
    if isinstance(prompt, str):
        return True
    return isinstance(prompt, (list, tuple)) and all(isinstance(message, Mapping) for message in prompt)


def _contents(pair: Pair) -> dict[str, Any]:
    contents = {name: value for name, value in ((name, getattr(pair, name)) for name in _FIELDS) if value is not None}
    for name in ("prompt_ids", "response_ids"):
        if name in contents:
            contents[name] = [operator.index(token_id) for token_id in contents[name]]
    if not isinstance(contents.get("prompt", ""), str):
        contents["prompt"] = [dict(message) for message in contents["prompt"]]
    return contents


def _prompt_key(pair: Pair) -> Hashable:
    return pair.prompt if isinstance(pair.prompt, str) else repr((pair.prompt, pair.prompt_ids, pair.rendered))

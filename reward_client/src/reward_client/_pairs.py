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
_ALLOWED = "a pair is (prompt, response), or a Pair or mapping of prompt and response or their _ids"


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
    has_text = pair.prompt is not None or pair.response is not None
    has_ids = pair.prompt_ids is not None or pair.response_ids is not None
    if has_text == has_ids:
        raise InvalidPair(f"pair {index} has {'both text and ids' if has_text else 'no content'}; {_ALLOWED}")
    if has_text and (not isinstance(pair.response, str) or not _is_prompt(pair.prompt)):
        raise InvalidPair(
            f"pair {index} has a {_kind(pair.prompt)} as prompt and a {_kind(pair.response)} as response; "
            "the prompt is text or a list of messages, the response is text"
        )
    if has_ids and (pair.prompt_ids is None or pair.response_ids is None):
        raise InvalidPair(f"pair {index} has only one of prompt_ids and response_ids; both are needed")
    if pair.id is not None and not isinstance(pair.id, str):
        raise InvalidPair(f"pair {index} has a {_kind(pair.id)} as id; it must be text")
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
    prompt = parts["prompt"] if "prompt" in parts else parts["prompt_ids"]
    return EncodedPair(index, pair.id, hash(prompt), body)


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
    raise InvalidPair(f"pair {index} is a {_kind(given)}; {_ALLOWED}")


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
    return pair.prompt if isinstance(pair.prompt, str) else repr((pair.prompt, pair.prompt_ids))


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__

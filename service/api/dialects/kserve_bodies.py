"""The JSON of an inference request of Open Inference v2, and its translation into pairs; `kserve.py` has the routes."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import Field

from service.api.dialects.compat import LenientBody, whole_ids, whole_text
from service.api.dialects.kserve_tensors import RawTensors, Tensor, from_binary, from_json
from service.api.dialects.policy_templates import Wanted
from service.errors import InvalidInput
from service.types import PairInput

_Value = TypeVar("_Value", str, int)

TEXTS: Final = "sentences"
IDS: Final = "tokens"
LENGTHS: Final = "sequence_lengths"
REWARDS: Final = "rewards"


class TensorBody(LenientBody):
    """An input: its values are in `data`, or behind the JSON where `parameters.binary_data_size` is given."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class OutputBody(LenientBody):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferBody(LenientBody):
    """The JSON of an inference request."""

    inputs: list[TensorBody]
    outputs: list[OutputBody] | None = None
    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)

    def wants_binary(self) -> bool:
        """Whether `rewards` is to come as raw bytes.

        Raises:
            InvalidInput: If another output, or another form of it, is asked for.
        """
        wanted = self.parameters.get("binary_data_output", False)
        for output in self.outputs or ():
            if output.name != REWARDS:
                raise InvalidInput(f"output {output.name!a} is asked for; allowed: {REWARDS}", param="outputs")
            _refuse_unhonoured(output)
            wanted = output.parameters.get("binary_data", wanted)
        return bool(wanted)

    def tensors(self, tail: bytes) -> dict[str, Tensor]:
        """The inputs by name; `tail` holds the raw ones.

        Raises:
            InvalidInput: If the bytes, the shapes and the types do not go together.
        """
        raw, found = RawTensors(tail), {}
        for given in self.inputs:
            _refuse_unhonoured(given)
            size = given.parameters.get("binary_data_size")
            if size is None:
                found[given.name] = from_json(given.name, given.datatype, given.shape, given.data)
            else:
                found[given.name] = from_binary(given.name, given.datatype, given.shape, raw.take(size, given.name))
        raw.check_empty()
        return found


def pairs_of(tensors: dict[str, Tensor], policy_template: Wanted) -> list[PairInput]:
    """What is to be scored: B texts, each the model's whole input, or B rows of ids.

    Raises:
        InvalidInput: If the tensors are not one of the two forms, or their shapes do not go together.
    """
    if set(tensors) == {TEXTS}:
        return [whole_text(text, policy_template) for text in _column(tensors[TEXTS], str)]
    if set(tensors) == {IDS, LENGTHS}:
        return _rows(tensors[IDS], _column(tensors[LENGTHS], int))
    given = ", ".join(tensors) or "none"
    raise InvalidInput(f"inputs are {given}; allowed: {TEXTS}, or {IDS} and {LENGTHS}", param="inputs")


def _rows(ids: Tensor, lengths: list[int]) -> list[PairInput]:
    """Each row of ids without its padding."""
    if len(ids.shape) != 2 or ids.shape[0] != len(lengths):
        message = f"shape is {list(ids.shape)} with {len(lengths)} {LENGTHS}; allowed: [B, S], a length for each row"
        raise InvalidInput(message, param=IDS)
    width = ids.shape[1]
    values = _of(int, ids)
    for index, length in enumerate(lengths):
        if not 0 <= length <= width:
            raise InvalidInput(f"length {length} of row {index}; allowed: 0 to {width}", param=LENGTHS)
    return [whole_ids(values[row * width : row * width + length]) for row, length in enumerate(lengths)]


def _column(tensor: Tensor, kind: type[_Value]) -> list[_Value]:
    """The values of a `[B]` or `[B, 1]` tensor."""
    if tensor.shape[1:] not in ((), (1,)) or not tensor.shape:
        raise InvalidInput(f"shape is {list(tensor.shape)}; allowed: [B] or [B, 1]", param=tensor.name)
    return _of(kind, tensor)


def _of(kind: type[_Value], tensor: Tensor) -> list[_Value]:
    found = [value for value in tensor.values if isinstance(value, kind)]
    if len(found) != len(tensor.values):
        allowed = "BYTES" if kind is str else "INT64 or INT32"
        raise InvalidInput(f"the datatype is another; allowed: {allowed}", param=tensor.name)
    return found


def _refuse_unhonoured(given: TensorBody | OutputBody) -> None:
    for parameter in ("shared_memory_region", "classification"):
        if given.parameters.get(parameter):
            raise InvalidInput(f"{parameter} is given; allowed: leave it out, it is not honoured", param=given.name)

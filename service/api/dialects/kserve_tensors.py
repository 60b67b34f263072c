"""Tensors of the Open Inference protocol v2, from and to bytes: pure functions, no HTTP, no scoring.

A body is JSON, or, with the binary extension (`Inference-Header-Content-Length` says where the JSON ends), JSON and
then the raw values of the tensors whose `binary_data_size` it names, in order: little-endian, row-major, a BYTES
element as its length in four bytes and then itself. As the protocol's `extension_binary_data` page defines it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from service.errors import BadText, BodyTooLarge, InvalidInput, MalformedBody

_INTEGERS: Final = {"INT32": "i", "INT64": "q"}
"""Integer types that ids and lengths may have, with their `struct` letters."""

_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
"""zlib's word for each kind of compression; `deflate` is the zlib format, as HTTP has it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor of texts (BYTES) or integers, its values flat and row-major."""

    name: str
    shape: tuple[int, ...]
    values: tuple[str, ...] | tuple[int, ...]


def inflate(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its compression; what inflates to more than `max_bytes` is given up at that size.

    Raises:
        MalformedBody: If it is not compressed as `encoding` says, or nobody here knows that encoding.
        BodyTooLarge: If it inflates to more than `max_bytes`.
    """
    if encoding in ("", "identity"):
        return raw
    if encoding not in _WINDOW_BITS:
        raise MalformedBody(f"Content-Encoding is {encoding!a}; allowed: {', '.join(_WINDOW_BITS)}, or none")
    stream = zlib.decompressobj(wbits=_WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(raw, max_bytes + 1)
    except zlib.error as error:
        raise MalformedBody(f"the body is not {encoding}: {error}") from error
    if len(plain) > max_bytes:
        raise BodyTooLarge(f"the body inflates to more than {max_bytes} bytes; allowed: {max_bytes} (max_body_bytes)")
    if not stream.eof:
        raise MalformedBody(f"the {encoding} body ends in the middle")
    return plain


def split(raw: bytes, header_length: str) -> tuple[bytes, bytes]:
    """The JSON of a body, and the raw tensors behind it.

    Args:
        header_length: The header `Inference-Header-Content-Length`, empty where it is not sent.

    Raises:
        MalformedBody: If the header is no length within the body.
    """
    if not header_length:
        return raw, b""
    if not header_length.isdecimal() or int(header_length) > len(raw):
        given = f"Inference-Header-Content-Length is {header_length!a} of a body of {len(raw)} bytes"
        raise MalformedBody(f"{given}; allowed: the length of the body's JSON")
    return raw[: int(header_length)], raw[int(header_length) :]


class RawTensors:
    """The bytes behind the JSON, handed out tensor by tensor."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def take(self, num_bytes: object, name: str) -> bytes:
        """The next tensor's bytes.

        Raises:
            InvalidInput: If fewer are left, or `num_bytes` is no number of bytes.
        """
        if type(num_bytes) is not int or not 0 <= num_bytes <= len(self._raw):
            message = f"binary_data_size is {num_bytes!a} with {len(self._raw)} bytes left; allowed: what was sent"
            raise InvalidInput(message, param=name)
        taken, self._raw = self._raw[:num_bytes], self._raw[num_bytes:]
        return taken

    def check_empty(self) -> None:
        """Raises InvalidInput if there are bytes that no tensor has asked for."""
        if self._raw:
            raise InvalidInput(f"{len(self._raw)} bytes are left after the last tensor; allowed: none")


def from_binary(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Tensor:
    """A tensor from its raw bytes.

    Raises:
        InvalidInput: If the type is not BYTES or an integer, or the bytes do not fill the shape.
        BadText: If a text is not UTF-8.
    """
    if datatype == "BYTES":
        return _tensor(name, shape, tuple(_texts(raw, name)))
    letter = _letter(name, datatype)
    size = struct.calcsize(f"<{letter}")
    if len(raw) % size:
        raise InvalidInput(f"{len(raw)} bytes; allowed: a multiple of {size} for {datatype}", param=name)
    return _tensor(name, shape, struct.unpack(f"<{len(raw) // size}{letter}", raw))


def from_json(name: str, datatype: str, shape: Sequence[int], data: object) -> Tensor:
    """A tensor from JSON, nested or flat.

    Raises:
        InvalidInput: If the type is not BYTES or an integer, or an element is not of it, or they do not fill the shape.
    """
    kind: type = str
    if datatype != "BYTES":
        _letter(name, datatype)
        kind = int
    values = tuple(_flat(data, len(shape), name))
    wrong = next((type(value).__name__ for value in values if type(value) is not kind), None)
    if wrong is not None:
        raise InvalidInput(f"data holds {wrong}; allowed: {kind.__name__} for {datatype}", param=name)
    return _tensor(name, shape, values)  # type: ignore[arg-type]  # the line above has looked at every element


def fp32_bytes(values: Sequence[float]) -> bytes:
    """The raw bytes of an FP32 tensor."""
    return struct.pack(f"<{len(values)}f", *values)


def _letter(name: str, datatype: str) -> str:
    if datatype not in _INTEGERS:
        allowed = ", ".join(("BYTES", *_INTEGERS))
        raise InvalidInput(f"datatype is {datatype!a}; allowed: {allowed}", param=name)
    return _INTEGERS[datatype]


def _tensor(name: str, shape: Sequence[int], values: tuple[str, ...] | tuple[int, ...]) -> Tensor:
    if min(shape, default=0) < 0 or prod(shape) != len(values):
        raise InvalidInput(f"shape is {list(shape)} and there are {len(values)} values", param=name)
    return Tensor(name, tuple(shape), values)


def _flat(data: object, depth: int, name: str) -> Iterator[object]:
    if not isinstance(data, list):
        yield data
        return
    if depth == 0:
        raise InvalidInput("data is nested more deeply than shape says", param=name)
    for item in data:
        yield from _flat(item, depth - 1, name)


def _texts(raw: bytes, name: str) -> Iterator[str]:
    start = index = 0
    while start < len(raw):
        begin = start + 4
        end = begin + int.from_bytes(raw[start:begin], "little")
        if end > len(raw) or begin > len(raw):
            raise InvalidInput(f"element {index} reaches beyond the tensor's {len(raw)} bytes", param=name)
        try:
            yield raw[begin:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadText(f"element {index} is not UTF-8: {error.reason} at byte {error.start}", param=name) from error
        start, index = end, index + 1

"""Tables of routes and of request fields, from the app's OpenAPI description."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from docs._generate.page import Block, PageError, table
from service.api.app import create_app
from service.settings import Settings
from tests.fakes import FakeServedModel, building

DESCRIBED_TAGS: Final = ("native", "operations")
"""Compatibility routes have a page of their own."""

Schema = dict[str, Any]


def routes(block: Block) -> str:
    """Every native and operations route with its summary."""
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"])
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
        if set(operation.get("tags", ())) & set(DESCRIBED_TAGS)
    ]
    return table(("route", "what"), *rows)


def fields(block: Block) -> str:
    """The fields of a body: name, type, default, meaning. The block's argument names its schema."""
    schemas = openapi()["components"]["schemas"]
    (name,) = block.arguments
    if name not in schemas:
        raise PageError(f"line {block.line}: no schema {name!r}; allowed: {', '.join(schemas)}")
    required = schemas[name].get("required", [])
    rows = [
        (f"`{field}`", type_words(about, schemas), _default(field, about, required), about.get("description", ""))
        for field, about in schemas[name]["properties"].items()
    ]
    return table(("field", "type", "default", "meaning"), *rows)


@cache
def openapi() -> Schema:
    """The description of the app."""
    return create_app(Settings(), building(FakeServedModel())).openapi()


def type_words(schema: Schema, schemas: Schema) -> str:
    """A JSON schema's type in words: `list of pairs`, `integer, 1 to 86400000`."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        target = schemas[name]
        return type_words(target, schemas) if "enum" in target else name.removesuffix("Body").lower()
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            kinds = [type_words(kind, schemas) for kind in schema[union] if kind.get("type") != "null"]
            return " or ".join(kinds)
    if schema.get("type") == "array":
        return f"list of {_plural(type_words(schema['items'], schemas))}"
    return _scalar(schema)


def _scalar(schema: Schema) -> str:
    named = {"string": "text", "object": "map", "path": "path", "password": "secret"}
    kind = schema.get("type", "")
    word = named.get(schema.get("format", ""), named.get(kind, kind))
    return ", ".join(filter(None, (word, _range(schema))))


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        over = f"over {schema['exclusiveMinimum']:g}"
        return over if high is None else f"{over}, up to {high:.0f}"
    if low is None:
        return ""
    return f"{low:.0f} or more" if high is None else f"{low:.0f} to {high:.0f}"


def _plural(word: str) -> str:
    return word if word == "text" else f"{word}s"


def _default(field: str, about: Schema, required: list[str]) -> str:
    if field in required:
        return "required"
    # FastAPI leaves a default of null out of the description.
    return f"`{json.dumps(about.get('default'))}`"

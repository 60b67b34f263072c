"""What a tokenizer's folder says besides `tokenizer.json`: special tokens and the chat template.

Reads `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja`. Knows the files, not the
library that interprets them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from service.errors import SettingsError

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
"""The special tokens that have a name in `tokenizer_config.json` and in chat templates."""

TEMPLATE_DATE = date(2024, 7, 26)
"""The day that templates see as today: a score must not change at midnight. It is the day that Llama 3's
templates themselves fall back to."""


@dataclass(frozen=True, slots=True)
class TokenizerFolder:
    """The parts of a tokenizer's folder that decide ids.

    Attributes:
        tokenizer_file: `tokenizer.json`; nothing else gives the ids as the authors had them.
        chat_template: The Jinja source, its date fixed.
        named_tokens: `bos_token` and its like, as text or as the added token's fields; absent ones left out.
        extra_tokens: Further special tokens that the configuration names.
        added_tokens: Fields of the added tokens that the configuration overrides, by id.
    """

    tokenizer_file: Path
    chat_template: str
    named_tokens: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    extra_tokens: tuple[str | dict[str, Any], ...] = ()
    added_tokens: dict[int, dict[str, Any]] = field(default_factory=dict)


def read_tokenizer_folder(folder: Path, template_override: str | None) -> TokenizerFolder:
    """Reads a folder as it was downloaded.

    Args:
        folder: Holds `tokenizer.json` and maybe the other files.
        template_override: The manifest's `template.jinja`; it goes before what the folder says.

    Raises:
        SettingsError: If there is no `tokenizer.json`, or no chat template anywhere.
    """
    tokenizer_file = folder / "tokenizer.json"
    if not tokenizer_file.is_file():
        raise SettingsError(
            f"{folder} holds no tokenizer.json; it is needed as the authors wrote it, "
            "because a tokenizer rebuilt from other files may give other ids"
        )
    config = _read_json(folder / "tokenizer_config.json")
    fallback = _read_json(folder / "special_tokens_map.json")
    named = {name: config.get(name, fallback.get(name)) for name in NAMED_TOKENS}
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    return TokenizerFolder(
        tokenizer_file,
        pin_dates(_find_template(folder, config, template_override)),
        named_tokens={name: token for name, token in named.items() if token is not None},
        extra_tokens=tuple(extra.values() if isinstance(extra, Mapping) else extra),
        added_tokens={int(token_id): token for token_id, token in config.get("added_tokens_decoder", {}).items()},
    )


def pin_dates(template: str) -> str:
    """Replaces a template's calls for today's date by `TEMPLATE_DATE`.

    >>> pin_dates("{{ strftime_now('%d %b %Y') }}")
    '{{ "26 Jul 2024" }}'

    Raises:
        SettingsError: If the template asks in a way that cannot be replaced.
    """
    pinned = re.sub(
        r"strftime_now\(\s*(['\"])(.*?)\1\s*\)",
        lambda match: json.dumps(TEMPLATE_DATE.strftime(match[2]), ensure_ascii=False),
        template,
    )
    if re.search(r"strftime_now\s*\(", pinned):
        raise SettingsError(
            "the chat template asks for today's date with a computed format, so its ids would change from "
            "day to day; set template.jinja in the manifest to a template with a fixed date"
        )
    return pinned


def _find_template(folder: Path, config: Mapping[str, Any], override: str | None) -> str:
    if override is not None:
        return override
    # The file goes first, as in transformers.
    template_file = folder / "chat_template.jinja"
    if template_file.is_file():
        return template_file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    if not isinstance(template, str):
        raise SettingsError(
            f"{folder} holds no chat template (chat_template.jinja, or chat_template in "
            "tokenizer_config.json); set template.jinja in the manifest"
        )
    return template


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds a {type(content).__name__}; it must hold a JSON object")
    return content

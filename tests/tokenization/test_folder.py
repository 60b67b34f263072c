"""What a tokenizer's folder and the manifest say is what is loaded; what is missing is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_store.manifest import Readout, ReadoutKind
from service.errors import SettingsError
from service.tokenization.fast_tokenizer import FastTokenizer
from service.tokenization.folder import pin_dates, read_tokenizer_folder
from service.types import Message
from tests.tokenization import tiny_tokenizers as tiny


def test_a_folder_without_tokenizer_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no tokenizer\.json"):
        read_tokenizer_folder(tmp_path, None)


def test_a_folder_without_template_is_refused_and_the_manifests_field_named(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path, chat_template=None)

    with pytest.raises(SettingsError, match=r"set template\.jinja in the manifest"):
        read_tokenizer_folder(folder, None)


def test_the_manifests_template_goes_before_the_file_and_the_file_before_the_configuration(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path, chat_template="configuration")
    assert read_tokenizer_folder(folder, None).chat_template == "configuration"

    (folder / "chat_template.jinja").write_text("file", encoding="utf-8")
    assert read_tokenizer_folder(folder, None).chat_template == "file"
    assert read_tokenizer_folder(folder, "manifest").chat_template == "manifest"


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]

    assert read_tokenizer_folder(tiny.write_chatml(tmp_path, chat_template=templates), None).chat_template == "plain"


def test_a_token_named_only_in_the_special_tokens_map_is_found(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": tiny.CHATML}), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": {"content": "<|bos|>", "lstrip": False, "rstrip": False}}), encoding="utf-8"
    )

    assert FastTokenizer(read_tokenizer_folder(folder, None)).bos_text == "<|bos|>"


def test_a_null_in_the_configuration_is_not_overridden_by_the_map(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path, bos_token=None)
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<|bos|>"}), encoding="utf-8")

    assert FastTokenizer(read_tokenizer_folder(folder, None)).bos_id is None


def test_added_tokens_of_the_configuration_are_honoured(tmp_path: Path) -> None:
    fields = {"content": "<|new|>", "special": True, "normalized": False}
    folder = tiny.write_chatml(tmp_path, added_tokens_decoder={"400": fields}, extra_special_tokens=["<|more|>"])
    tokenizer = FastTokenizer(read_tokenizer_folder(folder, None))
    [tokens] = tokenizer.tokenize(["a<|new|><|more|>"])

    assert tokens.ids[1:] == (400, 401)
    assert {400, 401} <= tokenizer.control_ids


def test_padding_and_truncation_written_in_tokenizer_json_are_not_applied(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path)
    tokenizer = tiny.raw(folder)
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    plain = tiny.raw(folder)
    plain.no_padding()
    plain.no_truncation()
    text = "The tide is the rise of the sea."

    for disguised in (False, True):
        [tokens] = FastTokenizer(read_tokenizer_folder(folder, None)).tokenize([text], disguised=disguised)
        assert list(tokens.ids) == plain.encode(text).ids


def test_configuration_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path)
    (folder / "tokenizer_config.json").write_text("[]", encoding="utf-8")

    with pytest.raises(SettingsError, match="must hold a JSON object"):
        read_tokenizer_folder(folder, None)


def test_a_special_token_without_text_is_refused(tmp_path: Path) -> None:
    folder = read_tokenizer_folder(tiny.write_chatml(tmp_path, bos_token={"id": 1}), None)

    with pytest.raises(SettingsError, match="its content must be text"):
        FastTokenizer(folder)


def test_a_template_that_asks_for_the_date_gets_the_same_one_every_day(chatml: Path) -> None:
    jinja = "{{ strftime_now('%d %b %Y') if strftime_now is defined else '' }} {{ messages[0].content }}"
    tokenizer = FastTokenizer(read_tokenizer_folder(chatml, jinja))

    assert tokenizer.render([Message("user", "Hello")]) == "26 Jul 2024 Hello"


def test_a_template_that_computes_its_date_format_is_refused() -> None:
    with pytest.raises(SettingsError, match="would change from day to day"):
        pin_dates("{{ strftime_now(format) }}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cut_after": ("<|nowhere|>",)}, r"template\.cut_after holds '<\|nowhere\|>', which the chat template never"),
        ({"jinja": "{{ raise_exception('never') }}"}, "refuses a lone user turn: .*never"),
        ({"bos": "double"}, 'template.bos is "double", but the tokenizer has no BOS'),
        ({"readout": Readout(ReadoutKind.FIXED_SLOT, token_id=0, slot=100)}, "max_tokens is 512, readout.slot 100"),
    ],
    ids=["marker", "template", "bos", "readout"],
)
def test_what_would_fail_for_every_pair_fails_at_load(qwen: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tiny.encoder(qwen, **fields)


def test_append_without_an_eos_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_chatml(tmp_path, eos_token=None)

    with pytest.raises(SettingsError, match="the tokenizer has no EOS"):
        tiny.encoder(folder, eos="append")


@pytest.mark.parametrize("field", ["bos", "eos", "user_specials", "truncation_side"])
def test_an_unknown_policy_is_refused(chatml: Path, field: str) -> None:
    fields: dict[str, Any] = {field: "other"}

    with pytest.raises(ValueError, match="'other' is not a valid"):
        tiny.encoder(chatml, **fields)

"""Settings: where values come from, who wins, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.errors import SettingsError
from service.settings import MASK, Settings, is_loopback
from service.settings_loading import load_settings
from service.types import Truncation


def test_the_defaults_serve_the_demo_on_loopback() -> None:
    settings = load_settings({}, {})

    assert settings.models == ("demo",)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_pairs_per_request == 10_000
    assert settings.max_body_bytes == 64 * 2**20
    assert settings.default_timeout_s == 100
    assert settings.truncation is Truncation.ERROR


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nthreads = 1\nchunk_tokens = 64\nmodels = ["a", "b"]\n')

    settings = load_settings({"REWARD_SERVER_PORT": "2", "REWARD_SERVER_THREADS": "2"}, {"port": 3}, file)

    assert (settings.port, settings.threads, settings.chunk_tokens) == (3, 2, 64)
    assert settings.models == ("a", "b")
    assert settings.config_file == file


def test_a_flag_that_is_none_was_not_given() -> None:
    assert load_settings({"REWARD_SERVER_PORT": "2"}, {"port": None}).port == 2


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("port = 7\n")

    assert load_settings({"REWARD_SERVER_CONFIG_FILE": str(file)}, {}).port == 7


@pytest.mark.parametrize("text", ["a,b", " a , b ", '["a", "b"]'], ids=["commas", "spaces", "json"])
def test_a_list_can_be_written_in_a_variable(text: str) -> None:
    assert load_settings({"REWARD_SERVER_MODELS": text}, {}).models == ("a", "b")


@pytest.mark.parametrize("text", ["rm=demo,gpt=demo", '{"rm": "demo", "gpt": "demo"}'], ids=["pairs", "json"])
def test_aliases_can_be_written_in_a_variable(text: str) -> None:
    settings = load_settings({"REWARD_SERVER_MODEL_ALIASES": text}, {})

    assert settings.model_aliases == {"rm": "demo", "gpt": "demo"}


def test_every_field_can_be_set_by_a_variable() -> None:
    samples = {
        "models": "m",
        "weights": "/w",
        "tokenizer": "/t",
        "model_aliases": "a=m",
        "host": "::1",
        "port": "1",
        "allow_unauthenticated": "true",
        "api_keys": "k",
        "tls_certfile": "cert.pem",
        "tls_keyfile": "key.pem",
        "tls_keyfile_password": "p",
        "supervise": "false",
        "shutdown_grace_s": "1.5",
        "max_forward_s": "1.5",
        "park_s": "1.5",
        "dtype": "bfloat16",
        "quantization": "int8",
        "device": "cuda:0,cuda:1",
        "threads": "1",
        "tokenizer_threads": "1",
        "chunk_tokens": "16",
        "max_frame_tokens": "16",
        "prefix_cache_tokens": "0",
        "max_queue_tokens": "1",
        "max_queue_pairs": "1",
        "score_cache_pairs": "1",
        "max_pairs_per_request": "1",
        "max_body_bytes": "1024",
        "default_timeout_s": "1.5",
        "truncation": "model",
        "policy_template": "chatml",
        "log_level": "debug",
        "log_text": "true",
    }

    settings = load_settings({f"REWARD_SERVER_{name.upper()}": text for name, text in samples.items()}, {})

    assert samples.keys() | {"config_file"} == Settings.model_fields.keys()
    assert samples.keys() <= settings.model_fields_set


def test_every_field_says_what_it_means() -> None:
    assert all(len(field.description or "") > 20 for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("environ", "flags", "parts"),
    [
        ({"REWARD_SERVER_PORT": "many"}, {}, ("REWARD_SERVER_PORT", "'many'", "integer")),
        ({}, {"port": 70_000}, ("--port", "70000", "65535")),
        ({"REWARD_SERVER_DTYPE": "int4"}, {}, ("REWARD_SERVER_DTYPE", "'int4'", "bfloat16")),
        ({"REWARD_SERVER_MODELS": "[1"}, {}, ("REWARD_SERVER_MODELS", "'[1'")),
        ({"REWARD_SERVER_MODEL_ALIASES": "rm"}, {}, ("REWARD_SERVER_MODEL_ALIASES", "ALIAS=MODEL")),
        ({"REWARD_SERVER_PROT": "1"}, {}, ("REWARD_SERVER_PROT", "not a setting", "REWARD_SERVER_PORT")),
        ({}, {"host": "0.0.0.0"}, ("0.0.0.0", "--api-key", "--allow-unauthenticated")),
        ({}, {"api_keys": ["  "]}, ("api_keys", "empty")),
        ({}, {"api_keys": ["sha256:12ab"]}, ("api_keys", "64 hex digits")),
        ({}, {"tls_keyfile": "key.pem"}, ("tls_keyfile", "tls_certfile")),
    ],
    ids=[
        "not-a-number",
        "out-of-range",
        "not-in-set",
        "bad-json",
        "bad-alias",
        "misspelt",
        "open",
        "empty-key",
        "cut-hash",
        "key-without-certificate",
    ],
)
def test_a_wrong_value_names_itself_and_what_is_allowed(
    environ: dict[str, str], flags: dict[str, object], parts: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, flags)

    assert all(part in caught.value.message for part in parts), caught.value.message


def test_a_misspelt_name_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("prot = 1\n")

    with pytest.raises(SettingsError, match=r"prot in .*server\.toml is not a setting"):
        load_settings({}, {}, file)


@pytest.mark.parametrize("content", [None, b"port = ", b"\xff"], ids=["missing", "not-toml", "not-utf8"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "server.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings({}, {}, file)


def test_a_wrong_key_is_not_shown_in_the_error() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"REWARD_SERVER_API_KEYS": '["s3cret", 5]'}, {})

    assert "s3cret" not in caught.value.message
    assert MASK in caught.value.message


@pytest.mark.parametrize("flags", [{"api_keys": ["k"]}, {"allow_unauthenticated": True}], ids=["key", "open"])
def test_another_address_is_allowed_with_a_key_or_by_name(flags: dict[str, object]) -> None:
    assert load_settings({}, {"host": "0.0.0.0", **flags}).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "myhost")),
    ],
)
def test_loopback_is_told_from_reachable_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_variables_kubernetes_adds_for_a_service_of_our_name_are_ignored() -> None:
    links = {
        "REWARD_SERVER_PORT": "tcp://10.0.0.1:8000",
        "REWARD_SERVER_SERVICE_HOST": "10.0.0.1",
        "REWARD_SERVER_SERVICE_PORT_HTTP": "8000",
        "REWARD_SERVER_PORT_8000_TCP_ADDR": "10.0.0.1",
    }

    assert load_settings(links, {}).port == 8000


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    settings = load_settings({"REWARD_SERVER_API_KEYS": "s3cret,other"}, {})

    assert settings.describe()["api_keys"] == [MASK, MASK]
    assert "s3cret" not in repr(settings) + str(settings.describe())
    assert settings.secrets() == ("s3cret", "other")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_building_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_SERVER_PORT", "1")

    assert Settings().port == 8000
    assert load_settings({}, {}).port == 8000

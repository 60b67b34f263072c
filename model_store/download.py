"""Fetches the files of a model from the Hugging Face hub: data only, never code.

The one importer of huggingface_hub, and only when something is really fetched. safetensors are preferred; a
repository that has none gives its PyTorch state dicts, which the loader opens without running them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model_store.errors import SourceError

Download = Callable[[str, str | None, tuple[str, ...]], Path]
"""`(repository, revision, patterns)` to the folder that then holds the matching files of its top level."""

TOKENIZER_PATTERNS = (
    "added_tokens.json",
    "chat_template.*",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer*.json",
    "tokenizer.model",
    "vocab.json",
)
MODEL_PATTERNS = ("config.json", "adapter_config.json", "reward-server.toml", *TOKENIZER_PATTERNS)
SAFETENSORS_PATTERNS = ("*.safetensors", "*.safetensors.index.json")
STATE_DICT_PATTERNS = ("*.bin", "*.bin.index.json", "*.pt")


def download_model(repository: str, revision: str | None, download: Download, side_files: tuple[str, ...] = ()) -> Path:
    """Fetches config, tokenizer and weights.

    Args:
        repository: Hugging Face id, `owner/name`.
        revision: Commit, branch or tag; None for the newest.
        download: Does the fetching.
        side_files: Further files to fetch.

    Raises:
        SourceError: If the repository cannot be had.
    """
    folder = download(repository, revision, MODEL_PATTERNS + SAFETENSORS_PATTERNS + side_files)
    if any(folder.glob("*.safetensors")):
        return folder
    return download(repository, revision, MODEL_PATTERNS + STATE_DICT_PATTERNS + side_files)


def download_snapshot(repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """Fetches the files that match, from the hub or its local cache; `HF_HOME` and `HF_TOKEN` are honoured.

    Raises:
        SourceError: If the hub is out of reach, or has no such repository for us; says what else to do.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        # The hub's patterns match across folders, and sub-folders hold other formats of the same weights.
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
        )
    except (OSError, ValueError, HTTPError) as error:
        raise SourceError(
            f"cannot fetch {repository} (revision {revision or 'newest'}) from the Hugging Face hub. Without"
            " it, put the files into a folder and name that folder instead (for a catalogue entry: --weights"
            f" FOLDER, and --tokenizer FOLDER if needed). The hub's client says: {type(error).__name__}:"
            f" {error}"
        ) from error
    return Path(folder)

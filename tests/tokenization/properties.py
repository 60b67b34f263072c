"""What property tests here share: texts full of control strings, and encoders that are loaded once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from service.tokenization.encoder import PairEncoder
from service.tokenization.fast_tokenizer import FastTokenizer
from service.tokenization.folder import read_tokenizer_folder
from tests.tokenization import tiny_tokenizers as tiny

seeded = settings(max_examples=50, derandomize=True, deadline=None)
"""The same examples in each run; no deadline, because a slow machine is no fault."""

CONTROL = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<pad>", "<|bos|>", "<|endoftext|>"]
"""The control strings of all tiny tokenizers: foreign ones are plain text everywhere."""

_characters = st.characters(exclude_categories=["Cs"])
_pieces = st.sampled_from([*CONTROL, "<", "|", ">", "s", "</", "im_end", "<think>", " ", "\n", "tide", "é", "文", "🙂"])
texts = st.lists(_pieces | st.text(_characters, max_size=3), max_size=8).map("".join)
questions = texts.filter(lambda text: text.strip())


def fast_tokenizer(folder: Path) -> FastTokenizer:
    """A folder's tokenizer with its own template."""
    return FastTokenizer(read_tokenizer_folder(folder, None))


class _Encoders(dict[Path, tuple[PairEncoder, frozenset[int]]]):
    def __missing__(self, folder: Path) -> tuple[PairEncoder, frozenset[int]]:
        self[folder] = tiny.encoder(folder), fast_tokenizer(folder).control_ids
        return self[folder]


ENCODERS = _Encoders()
"""Encoder and control ids by folder, loaded at first use."""

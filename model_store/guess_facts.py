"""What is guessed of a sequence-classification folder, one function for each subject, and how sure each guess is.

Each says what it rests on: a name or a number in the folder's files, or the custom that is followed where no file
says anything. What has two readings is named with both. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from model_store.manifest import Readout, ReadoutKind

OLD_POOLING = (4, 50)
"""The first transformers version whose sequence classification reads the rightmost token that is no pad; those
before it read the token before the first pad."""


class Sureness(StrEnum):
    """How sure a guess is."""

    SURE = "sure"
    """A file says so."""
    LIKELY = "likely"
    """The common custom, and nothing in the folder speaks against it."""
    UNSURE = "unsure"
    """There are two readings, or no file says anything and authors differ."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One guess in words.

    Attributes:
        subject: What it is about, such as `BOS`.
        what: What is taken.
        because: What that rests on, or what else it could be.
    """

    subject: str
    what: str
    sureness: Sureness
    because: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.what} ({self.sureness}: {self.because})"


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What the files say, parsed.

    Attributes:
        where: The folder, for messages.
        config: config.json.
        tokenizer: tokenizer_config.json.
        template_file: The text of chat_template.jinja, if there is one.
        tensors: Names of the tensors, or None for a lone state dict, which is not opened to guess.
    """

    where: str
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    template_file: str | None
    tensors: frozenset[str] | None

    @property
    def chat_template(self) -> str | None:
        """The template that transformers would use: the file, else the configuration's, else its `default` one."""
        template = self.tokenizer.get("chat_template") if self.template_file is None else self.template_file
        return dict(self.named_templates).get("default") if isinstance(template, list) else template

    @property
    def named_templates(self) -> Sequence[tuple[str, str]]:
        """Name and text of each template, where the configuration holds several."""
        templates = self.tokenizer.get("chat_template")
        return [(one["name"], one["template"]) for one in templates] if isinstance(templates, list) else []

    def token(self, name: str) -> str | None:
        """The text of a named token, such as `bos_token`."""
        token = self.tokenizer.get(name)
        return token["content"] if isinstance(token, dict) else token

    def template_writes(self, name: str) -> bool:
        """Whether the chat template writes a named token, by its name or its text."""
        text = self.token(name)
        return any(word in str(self.chat_template) for word in (name, text) if word)


def in_all(guesses: Sequence[Guess]) -> str:
    """One line: what is unsure, what is likely, what is sure."""
    by_sureness = {
        sureness: [guess.subject for guess in guesses if guess.sureness is sureness] for sureness in reversed(Sureness)
    }
    return "in all: " + "; ".join(f"{word}: {', '.join(names)}" for word, names in by_sureness.items() if names)


def about_head(facts: FolderFacts) -> Guess:
    """The linear layer `score`, and whether it has a bias."""
    says = "id2label" if facts.config.get("id2label") is not None else "num_labels"
    one = f"config.json names one label ({says})"
    if facts.tensors is None:
        return Guess("head", "score.weight without a bias", Sureness.LIKELY, f"{one}; names are checked when loading")
    if "score.bias" in facts.tensors:
        because = f"{one}; the files hold score.bias, which transformers would ignore"
        return Guess("head", "score.weight with score.bias", Sureness.UNSURE, because)
    return Guess("head", "score.weight without a bias", Sureness.SURE, f"{one}, and the files hold these tensors")


def about_readout(facts: FolderFacts) -> tuple[Readout, Guess]:
    """Where transformers' class reads, and when its versions or a padded batch would read elsewhere."""
    pad_id = facts.config.get("pad_token_id")
    if pad_id is None or pad_id < 0:
        because = f"config.json's pad_token_id is {pad_id}, so that nothing is padding"
        return Readout(), Guess("readout", "the last token", Sureness.SURE, because)
    what = f"the rightmost token that is not pad_token_id {pad_id}"
    return Readout(ReadoutKind.RIGHTMOST_NOT_ID, token_id=pad_id), Guess("readout", what, *_doubts(facts, pad_id))


def _doubts(facts: FolderFacts, pad_id: int) -> tuple[Sureness, str]:
    eos_id = facts.config.get("eos_token_id")
    older = "transformers before 4.50 read before the first one"
    if pad_id in (eos_id if isinstance(eos_id, list) else [eos_id]):
        return Sureness.UNSURE, f"it is also eos_token_id: a closing EOS is not read, and {older}"
    if facts.template_writes("pad_token"):
        return Sureness.UNSURE, f"the chat template writes {facts.token('pad_token')!r}, and {older}"
    if (other := _tokenizers_pad_id(facts)) not in (None, pad_id):
        because = f"one pair alone is read there, but the tokenizer pads with {other}: in a batch that it padded"
        return Sureness.UNSURE, f"{because}, transformers reads a pad"
    saved_by = facts.config.get("transformers_version")
    if _is_before(saved_by, OLD_POOLING):
        because = f"transformers {saved_by}, which saved it, read before the first one"
        return Sureness.SURE, f"{because}: the same token, as no text holds a pad"
    return Sureness.SURE, "what transformers' sequence classification does since 4.50"


def _tokenizers_pad_id(facts: FolderFacts) -> int | None:
    text = facts.token("pad_token")
    added = facts.tokenizer.get("added_tokens_decoder") or {}
    return next((int(token_id) for token_id, token in added.items() if text and token["content"] == text), None)


def _is_before(version: Any, limit: tuple[int, int]) -> bool:
    parts = str(version).split(".")[:2]
    return all(part.isdigit() for part in parts) and tuple(map(int, parts)) < limit


def about_dtype(facts: FolderFacts) -> tuple[str, Guess]:
    """Keeps bfloat16; float16 becomes float32, which holds its every value, where bfloat16 would round."""
    stored = facts.config.get("dtype") or facts.config.get("torch_dtype")
    dtype = "bfloat16" if stored == "bfloat16" else "float32"
    because = f"the config says {stored}; float32 on a CPU, unless asked otherwise"
    return dtype, Guess("dtype", dtype, Sureness.SURE if stored else Sureness.LIKELY, because)


def about_template(facts: FolderFacts, instead: str) -> Guess:
    """Which chat template, or that there is none."""
    if facts.chat_template is None:
        because = f"conversations cannot be rendered; {instead} (template.jinja)"
        return Guess("chat template", "none found", Sureness.UNSURE, because)
    if len(names := [name for name, _ in facts.named_templates]) > 1 and facts.template_file is None:
        return Guess("chat template", "the one called default", Sureness.UNSURE, f"there are {', '.join(names)}")
    given = facts.tokenizer.get("chat_template")
    if facts.template_file is not None and given not in (None, facts.template_file):
        because = "tokenizer_config.json holds another, which transformers passes over"
        return Guess("chat template", "chat_template.jinja", Sureness.UNSURE, because)
    because = "no file says what the authors trained with"
    return Guess("chat template", "the tokenizer's own", Sureness.LIKELY, because)


def about_bos(facts: FolderFacts) -> tuple[str, Guess]:
    """How many BOS: the tokenizer may add one, the template may write one, and some authors have both."""
    if facts.token("bos_token") is None:
        return "none", Guess("BOS", "none", Sureness.SURE, "the tokenizer has none")
    is_added, is_written = facts.tokenizer.get("add_bos_token"), facts.template_writes("bos_token")
    if is_added is False and not is_written:
        return "none", Guess("BOS", "none", Sureness.LIKELY, "neither tokenizer nor chat template adds it")
    if not is_written:
        return "one", Guess("BOS", "exactly one", Sureness.LIKELY, "the tokenizer adds it, the chat template does not")
    if is_added is False:
        return "one", Guess(
            "BOS", "exactly one", Sureness.LIKELY, "the chat template writes it, the tokenizer does not"
        )
    because = "the chat template writes one and the tokenizer may add another: authors who render first have two"
    return "one", Guess("BOS", "exactly one", Sureness.UNSURE, because)


def about_limits(facts: FolderFacts) -> Guess:
    """How long a pair may be; no file says what the authors do with longer ones."""
    longest, tokenizers = facts.config.get("max_position_embeddings"), facts.tokenizer.get("model_max_length")
    because = "no file says what the authors do"
    if isinstance(tokenizers, int) and isinstance(longest, int) and tokenizers < longest:
        because += f"; the tokenizer's own limit is {tokenizers}"
    what = f"pairs of up to max_position_embeddings ({longest}), longer ones refused"
    return Guess("limits", what, Sureness.UNSURE, because)


def about_score(facts: FolderFacts) -> Guess:
    """Whether the head's value is the score as it is."""
    said = facts.config.get("sentence_transformers") or {}
    activation = said.get("activation_fn") if isinstance(said, Mapping) else None
    activation = activation or facts.config.get("sbert_ce_default_activation_function")
    what = "the head's raw value, higher is better"
    if activation and not str(activation).endswith("Identity"):
        return Guess("score", what, Sureness.UNSURE, f"config.json names {activation}, which is not applied")
    return Guess("score", what, Sureness.LIKELY, "usual for one label")


def about_user_text() -> Guess:
    """A choice, not a guess."""
    what = "control strings are encoded as plain text"
    return Guess("user text", what, Sureness.LIKELY, "a choice; most authors' tokenizer calls parse them")

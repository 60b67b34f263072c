"""Every verified entry loads its published layout and scores as its authors' code does; any harm is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from model_store import catalogue
from model_store.errors import WeightsMismatch
from model_store.loader import load_model
from service.errors import BadConversation, TooLong
from tests.catalogue import reference as ref
from tests.catalogue import starling_reference
from tests.catalogue.all_references import REFERENCES, TESTED_ELSEWHERE
from tests.catalogue.reference import Reference, State, Turns
from tests.catalogue.serving import ServedEntry, files_of, serve

TOLERANCE = 2e-5
"""Another order of fp32 sums; scores of these models differ by about 1 from text to text."""

WORDS = ["what", "is", "the", "tide", "and", "why", "does", "the", "sea", "rise", "twice", "a", "day"]

SHORT: Turns = (("user", "What is a tide?"), ("assistant", "The sea rises.\n\nThe moon pulls it."))
TURNS: Turns = (
    ("user", "What is a tide?"),
    ("assistant", "The sea rises."),
    ("user", " Why? \n"),
    ("assistant", "The moon pulls it.\n\nTwice a day."),
)


@dataclasses.dataclass(frozen=True)
class Served:
    """A reference's model, written and served."""

    reference: Reference
    state: State
    toy: Tokenizer
    entry: ServedEntry

    def tagged(self, turns: Turns) -> Turns:
        """The turns with steps of the response marked, for models whose callers do that themselves."""
        tag, (role, response) = self.reference.step_tag, turns[-1]
        return (*turns[:-1], (role, (response.replace("\n\n", f"{tag}\n\n") + tag) if tag else response))

    def check(self, turns: Turns) -> None:
        """The same ids, and the same score, as the authors'."""
        turns = self.tagged(turns)
        ids = self.reference.ids(self.toy, turns)
        pair = self.entry.encode(turns)
        assert list(pair.ids) == ids
        [reward] = self.entry.score(pair)
        reference = self.reference
        assert abs(reward.score - reference.score(self.state, ids, reference.vocab_size)) < TOLERANCE
        if reference.steps is not None:
            steps = reference.steps(self.state, ids, reference.vocab_size)
            assert reward.steps == pytest.approx(steps, abs=TOLERANCE)
        if reference.objectives is not None:
            objectives = reference.objectives(self.state, ids, reference.vocab_size)
            assert reward.objectives == pytest.approx(objectives, abs=TOLERANCE)


@pytest.fixture(scope="module", params=REFERENCES, ids=lambda reference: reference.entries[0])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    reference = request.param
    folder = tmp_path_factory.mktemp(reference.entries[0])
    state, toy = ref.folder_of(reference, folder)
    return Served(reference, state, toy, serve(folder, reference.entries[0], max_tokens=reference.positions))


def test_a_short_pair_scores_as_the_authors_padded_row(served: Served) -> None:
    served.check(SHORT)


def test_control_strings_in_user_text_are_read_as_the_authors_read_them(served: Served) -> None:
    served.check((("user", served.reference.specials), SHORT[-1]))


def words(num_words: int) -> str:
    return " ".join((WORDS * (num_words // len(WORDS) + 1))[:num_words])


def test_a_long_pair_scores_as_the_authors_padded_row(served: Served) -> None:
    reference = served.reference
    allowed = min(reference.positions, reference.max_tokens or reference.positions)
    sizes = [len(reference.ids(served.toy, (("user", words(n)), ("assistant", words(n))))) for n in (10, 20)]
    num_words = int((allowed * 0.9 - sizes[0]) / (sizes[1] - sizes[0]) * 10)
    pair: Turns = (("user", words(num_words)), ("assistant", words(num_words)))

    assert len(reference.ids(served.toy, pair)) > allowed / 2
    served.check(pair)


def test_a_longer_pair_is_truncated_as_the_authors_do_or_refused(served: Served) -> None:
    longer: Turns = (SHORT[0], ("assistant", words(6000)))
    if served.reference.max_tokens is not None:
        served.check(longer)
        return
    with pytest.raises(TooLong, match="authors do not truncate"):
        served.entry.encode(longer)


def test_several_turns_score_as_the_authors_padded_row_or_are_refused(served: Served) -> None:
    if served.reference.takes_turns:
        served.check(TURNS)
        return
    with pytest.raises(BadConversation, match="user turns, this model takes at most 1"):
        served.entry.encode(TURNS)


def test_alone_and_in_company_the_bits_are_the_same(served: Served) -> None:
    pair = served.entry.encode(served.tagged(SHORT))
    other = served.entry.encode(served.tagged((SHORT[0], ("assistant", "No.\n\nIt is the wind."))))
    [alone] = served.entry.score(pair)

    assert served.entry.score(other, pair, other)[1] == alone


def test_explaining_adds_the_responses_tokens_and_changes_nothing_else(served: Served) -> None:
    pair = served.entry.encode(served.tagged(SHORT))
    [plain], [explained] = served.entry.score(pair), served.entry.score(pair, explain=True)

    assert len(explained.token_values) == pair.response_tokens
    assert dataclasses.replace(explained, token_values=()) == plain


LAYOUTS = {
    reference.entries[0]: reference for reference in REFERENCES if reference not in starling_reference.REFERENCES
}
"""One reference for each layout; some layouts have several, which differ in config.json."""


@pytest.mark.parametrize("reference", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("harm", ["delete", "rename", "reshape", "add"])
@pytest.mark.long
def test_any_tensor_that_does_not_fit_is_refused_by_name(tmp_path: Path, reference: Reference, harm: str) -> None:
    vocab_size = min(reference.vocab_size, 700)
    state = reference.write(tmp_path, vocab_size)
    files = files_of(tmp_path, reference.entries[0])
    rewriter = ref.Rewriter(reference, tmp_path, pickled=(tmp_path / "pytorch_model.bin").is_file())
    load_model(files, dtype="float32", device="cpu")
    for name in [name for name in state if name not in reference.ignored]:
        damaged = dict(state)
        if harm in ("rename", "add"):
            damaged[f"{name}_new"] = state[name].clone()
        if harm in ("delete", "rename"):
            del damaged[name]
        if harm == "reshape":
            damaged[name] = state[name][..., :-1].clone() if state[name].shape[-1] > 1 else state[name][..., None]
        rewriter.write(damaged)
        with pytest.raises(WeightsMismatch) as caught:
            load_model(files, dtype="float32", device="cpu")
        named = {"delete": [name], "rename": [name, f"{name}_new"], "reshape": [name], "add": [f"{name}_new"]}[harm]
        assert set(named) <= caught.value.missing.keys() | caught.value.left_over.keys() | caught.value.unfit.keys()


WORDS_ABOUT = ("name", "title", "licence", "origin", "notes", "golden", "is_verified")
"""What may differ between entries that share a reference."""


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.entries[0])
def test_entries_that_share_a_reference_are_read_alike(reference: Reference) -> None:
    first, *others = map(catalogue.find, reference.entries)

    same = {field: getattr(first, field) for field in WORDS_ABOUT}
    assert [dataclasses.replace(other, **same) for other in others] == [first] * len(others)


def test_every_entry_has_a_reference() -> None:
    tested = {entry for reference in REFERENCES for entry in reference.entries} | TESTED_ELSEWHERE

    assert tested == set(catalogue.names())


def test_an_unverified_entry_says_what_is_not_sourced_and_a_verified_one_does_not() -> None:
    says_why = {name for name in catalogue.names() if "unverified" in catalogue.find(name).notes}

    assert says_why == {name for name in catalogue.names() if not catalogue.find(name).is_verified}

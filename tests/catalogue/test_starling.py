"""Starling's entries load its published layouts and score as its published code does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from model_store import catalogue
from model_store.errors import WeightsError, WeightsMismatch
from model_store.loader import load_model
from model_store.sources import ModelFiles
from service.engine.torch_engine import EngineOptions, TorchEngine
from service.reward_head import build_head
from service.scheduling.packing import FrameBuilder
from service.tokenization.loading import load_encoder
from service.tokenization.readout import read_positions
from service.types import Conversation, EncodedPair, Message, TokenIds, Truncation
from tests.catalogue import starling_reference as reference
from tests.pairs import job
from tests.tokenization.tiny_tokenizers import write_llama2

CARD = "starling-rm-7b-alpha"
TOLERANCE = 2e-5
"""Another order of fp32 sums; scores spread by about 1."""

LLAMA2 = Path(__file__).parents[3] / "shared/data/llama2_tokenizer"
SAMPLE_A = [1, 1, 518, 25580, 29962, 15043, 29973, 29871, 2, 29871, 518, 29914, 25580, 29962, 6324, 29892, 920, 508]
SAMPLE_A += [306, 1371, 366, 29973, 2]


def loaded(folder: Path, entry: str) -> TorchEngine:
    model = load_model(ModelFiles(folder, folder, catalogue.find(entry)), dtype="float32", device="cpu")
    engine = TorchEngine(model.backbone, build_head(model), EngineOptions(2048, 2049, num_threads=2))
    engine.warm_up(lambda words: None)
    return engine


def score(engine: TorchEngine, pair: EncodedPair) -> float:
    builder = FrameBuilder(engine.info().max_frame_tokens)
    assert builder.try_add(job(0, pair))
    return engine.run(builder.build().frame)[0].score


def pair_of(ids: list[int], entry: str) -> EncodedPair:
    reads, probe = read_positions(ids, catalogue.find(entry).readout)
    return EncodedPair(tuple(ids), tuple(range(0, len(ids), 512)), reads, probe, 0, len(ids))


@pytest.fixture(scope="module")
def folder_7b(tmp_path_factory):
    folder = tmp_path_factory.mktemp("7b")
    return folder, reference.write_7b(folder)


@pytest.fixture(scope="module")
def engine_7b(folder_7b):
    return loaded(folder_7b[0], CARD)


@pytest.mark.parametrize("num_tokens", [1, 23, 2046, 2047, 2048])
def test_the_cards_rule_equals_the_row_padded_to_2048(folder_7b, engine_7b, num_tokens):
    rng = random.Random(num_tokens)
    ids = [1, *(rng.randrange(reference.VOCAB_SIZE) for _ in range(num_tokens - 1))]
    expected = reference.card_score(folder_7b[1], ids)
    assert abs(score(engine_7b, pair_of(ids, CARD)) - expected) < TOLERANCE


def test_3000_tokens_are_cut_on_the_left_and_score_as_the_cut_row(tmp_path, folder_7b, engine_7b):
    write_llama2(tmp_path)
    encoder = load_encoder(tmp_path, catalogue.find(CARD), vocab_size=reference.VOCAB_SIZE, max_tokens=2048)
    rng = random.Random(3000)
    ids = [1, *(rng.randrange(3, reference.VOCAB_SIZE) for _ in range(2999))]
    pair = encoder.encode(TokenIds(tuple(ids[:1000]), tuple(ids[1000:])), Truncation.MODEL)

    assert (len(pair.ids), pair.ids[0], pair.truncated_tokens) == (2048, 1, 952)
    assert abs(score(engine_7b, pair) - reference.card_score(folder_7b[1], ids)) < TOLERANCE


def test_the_cards_slot_is_not_the_last_token(folder_7b, engine_7b):
    ids = [1, 5, 9, 33, 2]
    card, last = (score(engine_7b, pair_of(ids, name)) for name in (CARD, f"{CARD}-last-token"))
    hidden = reference.backbone_of(folder_7b[1])(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    assert abs(last - float(hidden @ folder_7b[1]["v_head.weight"][0])) < TOLERANCE
    assert abs(card - last) > 1000 * TOLERANCE


@pytest.mark.parametrize("ids", [[5, 6, 7, 8], [5, 6, 0, 7, 8], list(range(1, 300))])
def test_the_34b_reads_before_the_first_0(tmp_path, ids):
    state = reference.write_34b(tmp_path)
    engine = loaded(tmp_path, "starling-rm-34b")
    assert abs(score(engine, pair_of(ids, "starling-rm-34b")) - reference.score_34b(state, ids)) < TOLERANCE


LAYOUTS = {CARD: reference.write_7b, "starling-rm-34b": reference.write_34b}


@pytest.mark.parametrize("entry", LAYOUTS)
@pytest.mark.parametrize("harm", ["delete", "rename", "reshape", "add"])
def test_any_tensor_that_does_not_fit_is_refused_by_name(tmp_path, entry, harm):
    state = LAYOUTS[entry](tmp_path)
    files = ModelFiles(tmp_path, tmp_path, catalogue.find(entry))
    for name in [name for name in state if name.startswith("transformer.") or name == "v_head.weight"]:
        damaged = dict(state)
        tensor = damaged[name]
        # under its aliases, too: each copy alone is enough to load from
        copies = [name] if entry != CARD else [name, name.replace("transformer.", "model.model.")]
        if harm in ("delete", "rename"):
            for copy in copies:
                damaged.pop(copy, None)
        if harm in ("rename", "add"):
            damaged[f"{name}_new"] = tensor
        if harm == "reshape":
            damaged[name] = tensor[..., :-1].clone()
        torch.save(damaged, tmp_path / "pytorch_model.bin")
        with pytest.raises(WeightsMismatch, match=name.replace(".", r"\.")):
            load_model(files, dtype="float32", device="cpu")


def test_copies_that_differ_are_refused_by_name(folder_7b, tmp_path):
    state = reference.write_7b(tmp_path)
    name = "model.model.norm.weight"
    torch.save(state | {name: state[name] + 1}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsMismatch, match=r"model\.model\.norm\.weight"):
        load_model(ModelFiles(tmp_path, tmp_path, catalogue.find(CARD)), dtype="float32", device="cpu")


class _RunsCode:
    def __reduce__(self):
        return (print, ("code in a pickle ran",))


def test_a_pickle_with_code_in_it_is_refused(tmp_path, capsys):
    state = reference.write_7b(tmp_path)
    torch.save(state | {"v_head.weight": _RunsCode()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="could run code"):
        load_model(ModelFiles(tmp_path, tmp_path, catalogue.find(CARD)), dtype="float32", device="cpu")
    assert "ran" not in capsys.readouterr().out


def test_the_golden_values_are_in_the_entry():
    assert [pair.score for pair in catalogue.find(CARD).golden.pairs] == [-3.4342, -6.9198, -2.9891]


@pytest.mark.skipif(not LLAMA2.is_dir(), reason=f"Llama-2's tokenizer is not at {LLAMA2}: its ids are UNCHECKED")
class TestWithLlama2Tokenizer:
    """From text to score, with the tokenizer the card uses."""

    def encode(self, entry: str, prompt: list[tuple[str, str]], response: str) -> EncodedPair:
        encoder = load_encoder(LLAMA2, catalogue.find(entry), vocab_size=32_000, max_tokens=2048)
        turns = tuple(Message(role, text) for role, text in prompt)
        return encoder.encode(Conversation(turns, response), Truncation.MODEL)

    def test_the_cards_sample_has_its_23_ids(self):
        assert list(self.encode(CARD, [("user", "Hello?")], "Hi, how can I help you?").ids) == SAMPLE_A

    def test_two_turns_in_the_authors_own_text_have_31_ids(self):
        prompt = [("user", "Hello"), ("assistant", "Hi"), ("user", "How's it going?")]
        pair = self.encode(f"{CARD}-turns", prompt, "It's good.")
        assert pair.rendered == "[INST] Hello [/INST] Hi</s> [INST] How's it going? [/INST] It's good.</s>"
        assert (len(pair.ids), pair.ids.count(1)) == (31, 1)

    @pytest.mark.parametrize("words", [0, 12, 3000])
    def test_text_scores_as_the_padded_row(self, tmp_path, words):
        state = reference.write_7b(tmp_path, vocab_size=32_000)
        engine = loaded(tmp_path, CARD)
        pair = self.encode(CARD, [("user", "Tell me <unk> a story.")], " ".join(["word"] * words))
        assert len(pair.ids) == min(2048, len(pair.ids) + pair.truncated_tokens)
        assert abs(score(engine, pair) - reference.card_score(state, pair.ids, 32_000)) < TOLERANCE

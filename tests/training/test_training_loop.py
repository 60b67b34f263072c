import json
import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from service.types import Message
from training.batches import EncodedRanking, encode, rewards_of, shuffled_batches
from training.build_demo import QUICK, build, demo_model
from training.demo_data.generator import generate
from training.demo_data.lexicon import Split
from training.evaluate import Accuracy, evaluate, scorer_of
from training.hints import copies_STO
from training.nectar import write_rankings
from training.rankings import Ranking
from training.tokenizer import texts_of, train_tokenizer
from training.train import TrainConfig, load_folder, main, train


@pytest.fixture(scope="module")
def tiny_model() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        num_labels=1,
        pad_token_id=1,
    )
    return LlamaForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    build(0, folder, QUICK)
    return folder


def test_rewards_equal_those_of_the_model_itself(tiny_model: LlamaForSequenceClassification) -> None:
    rows = [(5, 9, 7), (8, 8, 4, 3, 2, 30, 31), (6,)]

    with torch.inference_mode():
        ours = rewards_of(tiny_model, rows)
        theirs = [tiny_model(input_ids=torch.tensor([row])).logits.item() for row in rows]

    # Batched and single fp32 matrix products round differently.
    assert ours.tolist() == pytest.approx(theirs, abs=1e-5)


def test_batches_hold_every_ranking_once_and_one_number_of_candidates_each() -> None:
    rankings = [EncodedRanking(((index, 2), (index, 3))[:2] * (1 + index % 2), (1, 2)) for index in range(20)]

    batches = list(shuffled_batches(rankings, 16, random.Random(0)))

    assert sorted(ranking.rows[0][0] for batch in batches for ranking in batch) == list(range(20))
    assert all(len({len(ranking.rows) for ranking in batch}) == 1 for batch in batches)


def test_rankings_with_too_long_a_row_are_left_out() -> None:
    rankings = list(generate(0, Split.TRAIN, 10))
    tokenizer = train_tokenizer(texts_of(rankings), vocab_size=300)

    assert encode(tokenizer, rankings, max_tokens=4) == []
    assert len(encode(tokenizer, rankings, max_tokens=100_000)) == 10


@pytest.mark.long
def test_the_loss_falls_and_the_same_seed_gives_the_same_losses() -> None:
    rankings = list(generate(0, Split.TRAIN, 24))
    tokenizer = train_tokenizer(texts_of(rankings), QUICK.vocab_size)
    encoded = encode(tokenizer, rankings, max_tokens=300)
    config = TrainConfig(num_epochs=12, batch_tokens=1000, peak_lr=3e-3, hint_weight=1.0)

    def losses() -> list[float]:
        torch.manual_seed(0)
        return train(demo_model(QUICK, tokenizer), encoded, config, report=lambda line: None)

    first = losses()

    assert sum(first[-5:]) < 0.9 * sum(first[:5])
    assert losses() == first


def test_training_works_without_named_defects(tmp_path: Path, quick_folder: Path) -> None:
    plain = [Ranking(ranking.messages, ranking.answers, ranking.tiers) for ranking in generate(5, Split.TRAIN, 6)]
    write_rankings(tmp_path / "rows.jsonl", plain)

    main(["--data", str(tmp_path / "rows.jsonl"), "--base", str(quick_folder), "--out", str(tmp_path / "out")])

    before, _ = load_folder(quick_folder)
    after, _ = load_folder(tmp_path / "out")
    assert not torch.equal(before.score.weight, after.score.weight)


def test_a_quick_build_leaves_a_plain_folder_and_its_recipe(quick_folder: Path) -> None:
    names = {path.name for path in quick_folder.iterdir()}
    config = json.loads((quick_folder / "config.json").read_text())
    recipe = json.loads((quick_folder / "recipe.json").read_text())

    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["pad_token_id"] == 1
    assert recipe["seed"] == 0
    assert recipe["evaluation"]["held_out"]["num_rankings"] == QUICK.num_held_out


def test_the_same_seed_gives_the_same_data_and_tokenizer_bytes(tmp_path: Path, quick_folder: Path) -> None:
    recipe = build(0, tmp_path, QUICK)

    assert recipe["data"] == json.loads((quick_folder / "recipe.json").read_text())["data"]
    assert (tmp_path / "tokenizer.json").read_bytes() == (quick_folder / "tokenizer.json").read_bytes()


def test_a_ranking_longer_than_the_model_takes_is_counted_and_left_out(quick_folder: Path) -> None:
    ranking = Ranking((Message("user", "word " * 5000),), ("a", "b"), (1, 2))

    report = evaluate(scorer_of(*load_folder(quick_folder)), [ranking])

    assert (report.num_rankings, report.num_too_long) == (0, 1)


def test_accuracy_counts_ties_as_nothing_and_breaks_down_by_defect() -> None:
    ranking = Ranking((Message("user", "Q"),), ("aa", "b", "cccc"), (0, 0, 9), "kind", ("none", "none", "rude"))

    report = evaluate(lambda _: [3.0, 1.0, 2.0], [ranking])

    assert report.overall.accuracy == 0.5
    assert report.overall.num_pairs == 2
    assert report.by_defect["rude"].num_pairs == 2
    assert report.length_only == 1.0


def test_an_interval_shrinks_with_the_number_of_rankings() -> None:
    few, many = Accuracy.of([(3.0, 4), (1.0, 4)]), Accuracy.of([(3.0, 4), (1.0, 4)] * 50)

    assert few.accuracy == many.accuracy == 0.5
    assert many.high - many.low < few.high - few.low


def test_copies_are_known_by_their_ids() -> None:
    ids_ST = torch.tensor([[4, 5, 6, 4, 7, 7]])

    copies = copies_STO(ids_ST, torch.tensor([3]))

    assert copies[0, 3:].tolist() == [[True, False], [False, False], [False, True]]

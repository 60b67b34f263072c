import json
from itertools import count
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from service.types import Message
from training.batches import EncodedRanking, batches_of, encode, rewards_of
from training.build_demo import QUICK, build, demo_model
from training.demo_data.generator import generate
from training.demo_data.lexicon import Split
from training.evaluate import Accuracy, evaluate, scorer_of
from training.hints import copies_TO
from training.nectar import write_rankings
from training.packed import forward_packed, packed_rows
from training.rankings import Ranking
from training.tokenizer import texts_of, train_tokenizer
from training.train import TrainConfig, all_batches, load_folder, main, train


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

    batches = list(batches_of(rankings, 16))

    assert sorted(ranking.rows[0][0] for batch in batches for ranking in batch) == list(range(20))
    assert all(len({len(ranking.rows) for ranking in batch}) == 1 for batch in batches)


def lengths_in_order(config: TrainConfig) -> list[int]:
    rankings = [EncodedRanking(((0,) * length, (1,) * length), (1, 2)) for length in (9, 2, 8, 3, 7, 1, 5)]
    return [len(ranking.rows[0]) for batch in all_batches(rankings, config) for ranking in batch]


def test_the_shorter_half_of_the_first_rankings_comes_first_if_asked_for() -> None:
    assert lengths_in_order(TrainConfig(shuffles=False)) == [9, 2, 8, 3, 7, 1, 5]
    assert lengths_in_order(TrainConfig(shuffles=False, num_short_first=2)) == [2, 3, 9, 8, 7, 1, 5]


def test_drills_come_between_the_rankings_from_some_batch_on() -> None:
    rankings = [EncodedRanking(((index, 2), (index, 3)), (1, 2)) for index in range(8)]
    drills = (EncodedRanking(((99, index),) * 3, (0, 1, 1)) for index in count())
    config = TrainConfig(shuffles=False, batch_tokens=1, drill_tokens=1, num_before_drills=3, rankings_per_drill=2)

    batches = all_batches(rankings, config, drills)

    assert [batch[0].rows[0][0] for batch in batches] == [0, 1, 2, 3, 4, 99, 5, 6, 99, 7]
    assert [batch[0].rows[0][1] for batch in batches if len(batch[0].rows) == 3] == [0, 1]


def test_every_epoch_has_an_order_of_its_own() -> None:
    twice = lengths_in_order(TrainConfig(num_epochs=2))

    assert sorted(twice[:7]) == sorted(twice[7:]) == [1, 2, 3, 5, 7, 8, 9]
    assert twice[:7] != twice[7:]


PACKABLE = EncodedRanking(((5, 9, 7, 3), (5, 9, 4, 6, 8, 3), (5, 9, 3)), (0, 1, 2), num_prompt_tokens=2)


def test_rewards_of_a_packed_ranking_are_those_of_its_rows(tiny_model: LlamaForSequenceClassification) -> None:
    rows = list(packed_rows([PACKABLE]))

    with torch.inference_mode():
        packed, _ = forward_packed(tiny_model, rows[0])
        alone = rewards_of(tiny_model, PACKABLE.rows)

    assert len(rows) == 1
    assert len(rows[0].ids_T) == 2 + 2 + 4 + 1
    # Another order of the same sums in fp32.
    assert packed.tolist() == pytest.approx(alone.tolist(), abs=1e-5)


def test_short_rankings_share_a_row_and_are_blind_to_each_other(tiny_model: LlamaForSequenceClassification) -> None:
    other = EncodedRanking(((5, 9, 7), (5, 9, 7, 7)), (0, 1), num_prompt_tokens=2)
    (row,) = packed_rows([PACKABLE, other])

    with torch.inference_mode():
        packed, _ = forward_packed(tiny_model, row)
        alone = rewards_of(tiny_model, [*PACKABLE.rows, *other.rows])

    # Another order of the same sums in fp32.
    assert packed.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    assert row.previous_T.tolist() == [-1, 5, 9, 7, 9, 4, 6, 8, 9, -1, 5, 9, 9, 7]


def test_a_long_ranking_is_packed_into_several_rows_and_no_answer_is_lost() -> None:
    ranking = EncodedRanking(tuple((1, 2, *[3 + index] * 500) for index in range(5)), (0, 1, 2, 3, 4), 2)

    rows = list(packed_rows([ranking]))

    assert [len(row.ids_T) for row in rows] == [1002, 1002, 502]
    assert [row.ids_T[row.last_A].tolist() for row in rows] == [[3, 4], [5, 6], [7]]


def test_an_answer_that_begins_another_one_keeps_a_token_of_its_own() -> None:
    (row,) = packed_rows([EncodedRanking(((5, 9, 7), (5, 9)), (0, 1), num_prompt_tokens=2)])

    assert row.ids_T.tolist() == [5, 9, 7, 9]
    assert row.last_A.tolist() == [2, 3]


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
    for split in ("held_out", "test"):
        assert recipe["evaluation"][split]["num_rankings"] == QUICK.num_held_out


def test_the_same_seed_gives_the_same_data_and_tokenizer_bytes(tmp_path: Path, quick_folder: Path) -> None:
    recipe = build(0, tmp_path, QUICK)

    assert recipe["data"] == json.loads((quick_folder / "recipe.json").read_text())["data"]
    assert (tmp_path / "tokenizer.json").read_bytes() == (quick_folder / "tokenizer.json").read_bytes()


def test_a_second_phase_alone_starts_from_a_stored_first_one(tmp_path: Path, quick_folder: Path) -> None:
    whole = json.loads((quick_folder / "recipe.json").read_text())

    recipe = build(0, tmp_path, QUICK, start=quick_folder)

    assert {"exchange_share", "share_back", "training", "data", "loss"} <= set(whole["tuning"])
    assert recipe["loss"] == whole["loss"]
    assert recipe["tuning"]["data"] == whole["tuning"]["data"]  # type: ignore[index]
    assert (tmp_path / "tokenizer_config.json").read_bytes() == (quick_folder / "tokenizer_config.json").read_bytes()
    before, after = (load_folder(folder)[0] for folder in (quick_folder, tmp_path))
    assert not torch.equal(before.score.weight, after.score.weight)


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


def test_copies_and_copied_pairs_are_known_by_their_ids() -> None:
    ranking = EncodedRanking(((4, 5, 6, 4, 5, 7, 7), (4, 5, 6, 9, 9, 9)), (0, 1), num_prompt_tokens=3)
    (row,) = packed_rows([ranking])

    copies = copies_TO(row)[row.is_answer_T].int().tolist()

    # In the prompt, in the answer so far, and the same for the pair with the token before.
    first, second = copies[:4], copies[4:]
    assert first == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert second == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1]]

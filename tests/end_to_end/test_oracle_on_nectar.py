"""Served scores against a plain transformers forward, one pair at a time, on the 812 real pairs of a Nectar sample."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from model_store.sources import SHIPPED
from service.types import Conversation
from tests.checkpoints import FAMILIES, make_checkpoint
from tests.end_to_end.conftest import outcomes, serving
from tests.shared_data import nectar_pairs

FP32_TOLERANCE = 2e-5
"""fp32 rounding: another order of the same sums, on scores of size 1."""

DEMO = SHIPPED / "demo"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def checkpoint(folder: Path, family: str, pad: str) -> Path:
    """A random checkpoint of a family under the demo's tokenizer, which reads English in fewer tokens."""
    demo = AutoConfig.from_pretrained(DEMO)
    pad_id = demo.eos_token_id if pad == "eos" else demo.pad_token_id
    make_checkpoint(folder, family, vocab_size=demo.vocab_size, pad_token_id=pad_id)
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
        if (DEMO / name).exists():
            shutil.copy(DEMO / name, folder / name)
    return folder


class PlainModel:
    """transformers' own sequence classification, called as its documentation says."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def ids(self, pair: Conversation) -> list[int]:
        messages = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
        messages.append({"role": "assistant", "content": pair.response})
        text = self.tokenizer.apply_chat_template(messages, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    @torch.inference_mode()
    def score(self, ids: list[int]) -> float:
        return float(self.model(torch.tensor([ids])).logits[0, 0])


@pytest.mark.shared
@pytest.mark.parametrize("case", ["demo", *FAMILIES, "llama-pad-is-eos"])
async def test_served_scores_equal_a_plain_forward_on_all_pairs_that_fit(case, tmp_path):
    pairs = nectar_pairs()
    assert len(pairs) == 812
    family, _, pad = case.partition("-pad-is-")
    folder = DEMO if case == "demo" else checkpoint(tmp_path / case, family, pad)
    plain = PlainModel(folder)
    async with serving("demo" if case == "demo" else folder) as model:
        got = await outcomes(model, pairs)

    worst = 0.0
    for outcome, pair in zip(got, pairs, strict=True):
        ids = plain.ids(pair)
        if len(ids) > model.card.max_tokens:
            assert outcome.error is not None
            assert outcome.error.code == "too_long"
            continue
        assert outcome.encoded is not None
        assert list(outcome.encoded.ids) == ids
        assert outcome.reward is not None, outcome.error
        worst = max(worst, abs(outcome.reward.score - plain.score(ids)))

    assert worst <= FP32_TOLERANCE

"""One pair, one float: however it comes, whoever comes with it. Asserted with ==."""

import asyncio
import random

import pytest

from service.types import Conversation, RenderedText, TokenIds, Truncation
from tests.end_to_end.conftest import outcomes, scores, serving
from tests.end_to_end.texts import group

NUM_GROUPS, GROUP_SIZE = 15, 7


@pytest.fixture
def groups() -> list[list[Conversation]]:
    rng = random.Random(11)
    return [group(rng, GROUP_SIZE) for _ in range(NUM_GROUPS)]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
async def test_a_pair_gets_one_float_however_it_comes(family_checkpoint, groups, dtype):
    """105 pairs: alone, grouped, reversed, among 64 strangers, at once, rendered, as ids, after a restart."""
    rng = random.Random(5)
    pairs = [pair for members in groups for pair in members]
    async with serving(family_checkpoint, dtype=dtype) as model:
        alone = [(await scores(model, [pair]))[0] for pair in pairs]
        assert len(set(alone)) > len(pairs) // 2  # the model tells them apart, so that equality says something

        assert [score for members in groups for score in await scores(model, members)] == alone
        assert await scores(model, pairs[::-1]) == alone[::-1]
        assert await scores(model, pairs) == alone
        for _ in range(3):
            chosen = rng.sample(range(len(pairs)), 65)
            assert await scores(model, [pairs[i] for i in chosen]) == [alone[i] for i in chosen]
        together = await asyncio.gather(*(scores(model, [pair]) for pair in pairs))
        assert [score for (score,) in together] == alone

        encoded = await model.preview(pairs, Truncation.ERROR)
        rendered = [RenderedText(one.rendered) for one in encoded]
        as_ids = [TokenIds(one.ids[: one.prompt_tokens], one.ids[one.prompt_tokens :]) for one in encoded]
        assert await scores(model, rendered) == alone
        assert await scores(model, as_ids) == alone
        explained = await outcomes(model, pairs, explain=True)
        assert [outcome.reward.score for outcome in explained] == alone
        fingerprint = model.card.fingerprint
    async with serving(family_checkpoint, dtype=dtype) as model:
        assert model.card.fingerprint == fingerprint
        assert await scores(model, pairs) == alone


async def test_a_group_pays_for_its_prompt_once(llama_checkpoint, groups):
    async with serving(llama_checkpoint) as model:
        got = await outcomes(model, groups[0])

    encoded = [outcome.encoded for outcome in got]
    distinct = {one.ids: one for one in encoded}.values()
    assert sum(outcome.computed_tokens for outcome in got) == encoded[0].prompt_tokens + sum(
        one.response_tokens for one in distinct
    )
    assert [outcome.computed_tokens + outcome.reused_tokens for outcome in got] == [len(one.ids) for one in encoded]


async def test_sixty_three_good_pairs_and_one_too_long_give_sixty_three_scores(llama_checkpoint, groups):
    good = [pair for members in groups[:9] for pair in members]
    pairs = [*good[:40], Conversation(good[0].prompt, "word " * 5000), *good[40:]]
    async with serving(llama_checkpoint) as model:
        got = await outcomes(model, pairs)
        expected = await scores(model, good)

    assert got[40].error.code == "too_long"
    assert [outcome.reward.score for outcome in got if outcome.reward] == expected


async def test_other_weights_dtype_or_settings_have_another_fingerprint(llama_checkpoint, tmp_path):
    from tests.checkpoints import make_checkpoint

    prints = []
    for folder, settings in [
        (llama_checkpoint, {}),
        (llama_checkpoint, {"dtype": "bfloat16"}),
        (llama_checkpoint, {"chunk_tokens": 64}),
        (make_checkpoint(tmp_path / "other", "llama", num_hidden_layers=1), {}),
    ]:
        async with serving(folder, **settings) as model:
            prints.append(model.card.fingerprint)

    assert len(set(prints)) == 4

"""Real models behind the real path, from files to floats, without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.model_runtime import load_served_model
from service.observability.observers import RecordingObserver
from service.scoring.served_model import LoadedModel
from service.settings import Settings
from service.types import PairInput, PairOutcome, ScoreOptions
from tests.checkpoints import FAMILIES, make_checkpoint


@asynccontextmanager
async def serving(reference: str | Path, **settings: Any) -> AsyncIterator[LoadedModel]:
    """A started model, closed at the end."""
    known = Settings(models=(str(reference),), threads=2, default_timeout_s=600, **settings)
    model = await load_served_model(str(reference), known, RecordingObserver(), lambda words: None)
    try:
        yield model
    finally:
        await model.close()


async def outcomes(model: LoadedModel, pairs: Sequence[PairInput], **options: Any) -> list[PairOutcome]:
    """One outcome for each pair, in order."""
    by_index = {outcome.index: outcome async for outcome in await model.submit(pairs, ScoreOptions(**options))}
    assert sorted(by_index) == list(range(len(pairs)))
    return [by_index[index] for index in range(len(pairs))]


async def scores(model: LoadedModel, pairs: Sequence[PairInput], **options: Any) -> list[float]:
    """One score for each pair, in order; any error fails the test."""
    got = await outcomes(model, pairs, **options)
    assert [outcome.error for outcome in got if outcome.error] == []
    return [outcome.reward.score for outcome in got if outcome.reward]


@pytest.fixture(scope="session", params=FAMILIES)
def family_checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / request.param, request.param, max_tokens=2048)


@pytest.fixture(scope="session")
def llama_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama checkpoint."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "llama", "llama", max_tokens=2048)

"""Scores a file: JSONL in, JSONL out, in input order; resumable; the same scores as HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_client import AsyncClient, Pair, Result
from service.jobs.input_file import BadLine, InputFile
from service.jobs.journal import Journal

WINDOW_PAIRS = 1024
"""Pairs between two writes of the journal: what a kill costs at most, and enough to fill frames."""

WINDOWS_AT_ONCE = 2
"""The next window is under way while one is finished and written, so that the engine does not wait."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How a job ended."""

    num_pairs: int
    num_scored: int
    num_resumed: int


async def score_file(
    client: AsyncClient,
    source: Path,
    output: Path,
    *,
    model: str | None,
    truncation: str,
    on_progress: Callable[[int, int], None],
) -> Tally:
    """Scores every pair of `source` into `output`; a pair that cannot be scored gets its error.

    Args:
        on_progress: Told how many pairs are done, of how many.

    Raises:
        SettingsError: If the journal beside the output belongs to another job.
        RewardServerError: If the server cannot be reached for long; what is finished is kept for the next run.
    """
    file = await asyncio.to_thread(InputFile, source)
    served = await _find(client, model)
    job = {"input": file.sha256, "fingerprint": served.fingerprint, "truncation": truncation}
    with closing(Journal(output, job)) as journal:
        num_resumed = len(journal)
        num_failed = 0
        todo = [index for index in file.order() if index not in journal]
        on_progress(len(journal), len(file))
        async for results in _score_windows(client, file, todo, served.id, served.fingerprint, truncation):
            journal.append(results)
            num_failed += sum("error" in result for result in results)
            on_progress(len(journal), len(file))
        await asyncio.to_thread(journal.finish)
    return Tally(len(file), len(todo) - num_failed, num_resumed)


async def _find(client: AsyncClient, model: str | None) -> Any:
    """The served model of this name, or the first."""
    models = await client.models()
    return next((served for served in models if model in (None, served.id)), models[0])


async def _score_windows(
    client: AsyncClient, file: InputFile, todo: list[int], model: str, fingerprint: str, truncation: str
) -> Any:
    """Results of each window, a few windows under way at a time."""
    running: list[asyncio.Task[list[dict[str, Any]]]] = []
    try:
        for window in _windows(todo):
            pairs = list(file.read(window))
            running.append(asyncio.create_task(_score_window(client, pairs, model, fingerprint, truncation)))
            if len(running) >= WINDOWS_AT_ONCE:
                yield await running.pop(0)
        while running:
            yield await running.pop(0)
    finally:
        for task in running:
            task.cancel()


def _windows(todo: list[int]) -> Iterator[list[int]]:
    return (todo[start : start + WINDOW_PAIRS] for start in range(0, len(todo), WINDOW_PAIRS))


async def _score_window(
    client: AsyncClient, lines: list[tuple[int, Pair | BadLine]], model: str, fingerprint: str, truncation: str
) -> list[dict[str, Any]]:
    good = [(index, pair) for index, pair in lines if isinstance(pair, Pair)]
    bad = [_refused(index, error) for index, error in lines if isinstance(error, BadLine)]
    reply = await client.score(
        [pair for _, pair in good], on_error="return", model=model, truncation=truncation, fingerprint=fingerprint
    )
    return bad + [_row(index, result) for (index, _), result in zip(good, reply.results, strict=True)]


def _refused(index: int, error: BadLine) -> dict[str, Any]:
    message = f"line {index + 1} holds {error}"
    return {"index": index, "id": None, "error": {"code": "bad_line", "message": message, "retryable": False}}


def _row(index: int, result: Result) -> dict[str, Any]:
    """A result as a line of the output: the fields of `/v1/score`, without what depends on the run."""
    if result.error is not None:
        error = {"code": result.error.code, "message": result.error.message, "retryable": result.error.retryable}
        return {"index": index, "id": result.id, "error": error}
    row: dict[str, Any] = {
        "index": index,
        "id": result.id,
        "score": result.score,
        "prompt_tokens": result.prompt_tokens,
        "response_tokens": result.response_tokens,
        "truncated_tokens": result.truncated_tokens,
        "ended": result.ended,
    }
    more = {"objectives": dict(result.objectives), "members": dict(result.members), "steps": list(result.steps)}
    return row | {name: values for name, values in more.items() if values}

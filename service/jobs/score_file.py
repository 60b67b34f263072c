"""Scores a file: JSONL in, JSONL out, in input order; resumable; the same scores as HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_client import AsyncClient, ModelInfo, Pair, Result, ServerUnavailable
from service.jobs.input_file import BadLine, InputFile
from service.jobs.journal import Journal

WRITE_EVERY_S = 1.0
"""Time between two writes of the journal: what a kill costs at most, besides what was under way."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How a job ended: pairs in the file, and of those how many were scored, had an error, or were found done."""

    num_pairs: int
    num_scored: int
    num_failed: int
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
    job = {"input": file.sha256, "fingerprint": served.fingerprint or "", "truncation": truncation}
    with closing(Journal(output, job)) as journal:
        num_resumed = len(journal)
        todo = [index for index in file.order() if index not in journal]
        work = _Work(file, todo, journal, lambda: on_progress(len(journal), len(file)))
        on_progress(len(journal), len(file))
        results = client.stream(
            work.pairs(), on_error="return", model=served.id, truncation=truncation, fingerprint=served.fingerprint
        )
        await work.write(results)
        await asyncio.to_thread(journal.finish)
    return Tally(len(file), len(todo) - work.num_failed, work.num_failed, num_resumed)


async def _find(client: AsyncClient, model: str | None) -> ModelInfo:
    """The served model of this name, or the first."""
    models = await client.models()
    return next((served for served in models if model in (None, served.id)), models[0])


class _Work:
    """The pairs still to do, and what became of them, in the order in which they were handed to the client."""

    def __init__(self, file: InputFile, todo: list[int], journal: Journal, on_write: Callable[[], None]) -> None:
        self.num_failed = 0
        self._file = file
        self._todo = todo
        self._journal = journal
        self._on_write = on_write
        self._sent: list[int] = []
        self._unwritten: list[dict[str, Any]] = []

    def pairs(self) -> Iterator[Pair]:
        """Every pair to be sent; lines that hold none are answered on the way."""
        for index, pair in self._file.read(self._todo):
            if isinstance(pair, BadLine):
                self._add(_refused(index, pair))
            else:
                self._sent.append(index)
                yield pair

    async def write(self, results: Any) -> None:
        """Takes results as they finish and writes them every now and then.

        Raises:
            ServerUnavailable: If a pair failed in a way that may pass: it is left for the next run.
        """
        written_s = time.monotonic()
        try:
            async with aclosing(results):
                async for result in results:
                    if result.error is not None and result.error.retryable:
                        raise ServerUnavailable(f"{result.error.message}; what is finished is kept: run it again")
                    self._add(_row(self._sent[result.index], result))
                    if time.monotonic() - written_s >= WRITE_EVERY_S:
                        self._flush()
                        written_s = time.monotonic()
        finally:
            self._flush()

    def _add(self, row: dict[str, Any]) -> None:
        self.num_failed += "error" in row
        self._unwritten.append(row)

    def _flush(self) -> None:
        self._journal.append(self._unwritten)
        self._unwritten = []
        self._on_write()


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

"""OpenRLHF's `serve_rm` algorithm on one small model, for a machine that has neither its CUDA wheels nor a GPU.

Its server (openrlhf/cli/serve_rm.py, 0.11) takes a request's texts in slices of `batch_size` in the order they came,
left-padded, inside one `async def`: one request at a time, nothing batched across requests. Written from that
description; run as `python -m benchmarks.peers.openrlhf_server FOLDER PORT THREADS`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.checkpoint import Text, tokenizer_of
from benchmarks.peers.plain import Plain

BATCH_SIZE = 8
"""Its command's own default is none (the whole request); 8 is what its examples pass."""


class Body(BaseModel):
    """The fields its clients send."""

    query: list[str]
    prompts: list[str] = []


def app_of(folder: Path, num_threads: int) -> FastAPI:
    """The server's one route, and a probe."""
    app, plain, tokenizer = FastAPI(), Plain(folder, num_threads), tokenizer_of(folder)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}

    @app.post("/get_reward")
    async def get_reward(body: Body) -> dict[str, object]:
        texts = [Text(text, tuple(tokenizer(text, add_special_tokens=False).input_ids), 0) for text in body.query]
        rewards = plain.scores(texts, BATCH_SIZE, pads_left=True)
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}

    return app


if __name__ == "__main__":
    uvicorn.run(app_of(Path(sys.argv[1]), int(sys.argv[3])), port=int(sys.argv[2]), log_level="warning")

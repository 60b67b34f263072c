"""A long job outlives its server: kill -9 in the middle, another server 20 seconds later. Run by `make soak`."""

import asyncio
import signal
import socket

import pytest

from reward_client import AsyncClient
from tests.end_to_end.process import running

NUM_PAIRS = 10_000
DOWN_S = 20

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_ten_thousand_pairs_survive_a_killed_server(llama_checkpoint, tmp_path):
    pairs = [(f"prompt {number // 8}", f"response {number}") for number in range(NUM_PAIRS)]
    port = free_port()
    with running(tmp_path / "calm.log", llama_checkpoint, port=port) as server:
        async with AsyncClient(server.url) as client:
            calm = await client.score(pairs)
            await asyncio.to_thread(server.stop)
    with running(tmp_path / "doomed.log", llama_checkpoint, "--no-supervise", port=port) as doomed:
        async with AsyncClient(doomed.url) as client:
            job = asyncio.create_task(client.score(pairs))
            await asyncio.sleep(2)
            assert not job.done()
            await asyncio.to_thread(doomed.stop, signal.SIGKILL)
            await asyncio.sleep(DOWN_S)
            assert not job.done()
            with running(tmp_path / "second.log", llama_checkpoint, port=port):
                stormy = await job

    assert stormy.scores == calm.scores
    assert len(stormy.scores) == NUM_PAIRS

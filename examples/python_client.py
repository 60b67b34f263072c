"""The Python client: scores, ranking, streaming, errors. A server must be running: `make serve`.

python examples/python_client.py [URL]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from reward_client import AsyncClient, Client, Pair, PairFailed

QUESTION = "How do I clean a kettle?"
ANSWERS = [
    "Fill it with water and vinegar, boil it, and rinse it twice.",
    "Figure it out yourself, you fool.",
    "Bananas.",
]


def scores(client: Client) -> None:
    """Any number of pairs in one call: one result each, in order."""
    reply = client.score([(QUESTION, answer) for answer in ANSWERS])
    for answer, score in zip(ANSWERS, reply.scores, strict=True):
        print(f"{score:9.4f}  {answer}")
    print("made by", reply.fingerprint[:20], "with", reply.usage.computed_tokens, "tokens computed")


def best_answer(client: Client) -> None:
    """Ranking: best first, and by how much."""
    ranking = client.rank(QUESTION, ANSWERS)
    print("best:", ranking.results[0].response, "by", ranking.margin)


def failures(client: Client) -> None:
    """A failure is never a number: it is raised, or stands in the result where you ask for it."""
    pairs = [Pair(QUESTION, "With vinegar.", id="fine"), Pair("", "An answer to nothing.", id="empty")]
    try:
        client.score(pairs)
    except PairFailed as error:
        print("raised:", error.failed[0].error)
    for result in client.score(pairs, on_error="return").results:
        print(result.id, result.score if result.error is None else result.error.code)


async def rollout() -> AsyncIterator[tuple[str, str]]:
    """Stands for a trainer's generation: responses come one by one."""
    for answer in ANSWERS:
        await asyncio.sleep(0)
        yield QUESTION, answer


async def while_generating(url: str) -> None:
    """Scoring overlaps with generation; results come as they finish, `index` says whose they are."""
    async with AsyncClient(url, priority="bulk", run_id="example") as client:
        async for result in client.stream(rollout()):
            print("streamed:", result.index, result.score)


def main(url: str) -> None:
    """Runs all of it against one server."""
    with Client(url) as client:
        client.wait_ready()
        scores(client)
        best_answer(client)
        failures(client)
    asyncio.run(while_generating(url))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")

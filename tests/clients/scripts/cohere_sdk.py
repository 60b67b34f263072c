"""cohere: both of the SDK's clients, plain and asynchronous."""

from __future__ import annotations

import asyncio

import cohere
from helper import raised, read_task, tell

task = read_task()
asked = {"model": "any", "query": task["query"], "documents": task["documents"]}


def ranked(reply):
    return [[result.index, result.relevance_score] for result in reply.results]


async def asynchronous():
    async with cohere.AsyncClientV2(task["key"], base_url=task["url"]) as client:
        return ranked(await client.rerank(**asked))


second = cohere.ClientV2(task["key"], base_url=task["url"])
first = cohere.Client(task["key"], base_url=task["url"])
tell(
    v2=ranked(second.rerank(**asked)),
    v1=ranked(first.rerank(**asked)),
    v2_async=asyncio.run(asynchronous()),
    top_2=ranked(second.rerank(**asked, top_n=2)),
    documents=[result.document.text for result in first.rerank(**asked, return_documents=True).results],
    error=raised(lambda: second.rerank(model="any", query=task["query"], documents=[task["too_long"]])),
)

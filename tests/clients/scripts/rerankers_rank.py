"""rerankers: its ranker for each provider whose protocol is spoken."""

from __future__ import annotations

from helper import raised, read_task, tell
from rerankers import Reranker

task = read_task()
PROVIDERS = {
    "cohere": task["url"] + "/v1/rerank",
    "jina": task["url"] + "/v1/rerank",
    "text-embeddings-inference": task["url"] + "/rerank",
}


def ranker(provider):
    return Reranker("any", model_type=provider, api_key=task["key"], url=PROVIDERS[provider])


def ranked(provider):
    found = ranker(provider).rank(query=task["query"], docs=task["documents"])
    return [[result.doc_id, result.score] for result in found.results]


tell(
    ranked={provider: ranked(provider) for provider in PROVIDERS},
    errors={
        provider: raised(lambda provider=provider: ranker(provider).rank(query=task["query"], docs=[task["too_long"]]))
        for provider in PROVIDERS
    },
)

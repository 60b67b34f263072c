"""litellm: rerank through each of the providers whose protocol is spoken."""

from __future__ import annotations

import litellm
from helper import raised, read_task, tell

task = read_task()
PROVIDERS = {
    "hosted_vllm": task["url"],
    "cohere": task["url"],
    "jina_ai": task["url"] + "/v1",
    "huggingface": task["url"],
    "infinity": task["url"] + "/infinity",
}


def rerank(provider, documents, **options):
    return litellm.rerank(
        model=f"{provider}/any",
        query=task["query"],
        documents=documents,
        api_base=PROVIDERS[provider],
        api_key=task["key"],
        max_retries=0,
        **options,
    )


def ranked(provider, **options):
    reply = rerank(provider, task["documents"], **options)
    return [[result["index"], result["relevance_score"]] for result in reply.results]


tell(
    ranked={provider: ranked(provider) for provider in PROVIDERS},
    with_documents={provider: ranked(provider, return_documents=True) for provider in PROVIDERS},
    top_2={provider: ranked(provider, top_n=2) for provider in PROVIDERS},
    errors={provider: raised(lambda provider=provider: rerank(provider, [task["too_long"]])) for provider in PROVIDERS},
)

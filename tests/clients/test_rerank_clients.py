"""Rerankers of real packages: the order and the floats are those of `/v1/score`, after the documented sigmoid."""

from __future__ import annotations

import pytest

from tests.clients.conftest import DOCUMENTS, ask

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]


@pytest.mark.parametrize("group", ["apps", "light"], ids=["before version 6", "newest"])
def test_cohere(served, group):
    found = ask(served, group, "cohere_sdk")

    assert found["v1"] == found["v2"] == found["v2_async"] == served.ranked
    assert found["top_2"] == served.ranked[:2]
    assert found["documents"] == [DOCUMENTS[index] for index, _ in served.ranked]
    assert "UnprocessableEntityError" in found["error"]


def test_langchain_cohere(served):
    found = ask(served, "apps", "langchain_cohere_rerank")

    assert found["ranked"] == served.ranked
    assert found["compressed"] == [[DOCUMENTS[index], score] for index, score in served.ranked[:2]]
    assert "UnprocessableEntityError" in found["error"]


def test_litellm(served):
    found = ask(served, "apps", "litellm_rerank")

    providers = ("hosted_vllm", "cohere", "jina_ai", "huggingface", "infinity")
    assert found["ranked"] == found["with_documents"] == dict.fromkeys(providers, served.ranked)
    shortened = {provider: served.ranked[:2] for provider in providers if provider != "huggingface"}
    assert found["top_2"] == shortened | {"huggingface": served.ranked}  # TEI has no top_n, and ignores it
    assert all("APIError" in error for error in found["errors"].values())


def test_rerankers(served):
    found = ask(served, "light", "rerankers_rank")

    assert found["ranked"] == dict.fromkeys(("cohere", "jina", "text-embeddings-inference"), served.ranked)
    assert all(found["errors"].values())  # it looks at no status, and stumbles over a body without results


def test_llama_index(served):
    found = ask(served, "apps", "llama_index_rerank")

    by_text = [[DOCUMENTS[index], score] for index, score in served.ranked]
    assert (found["ranked"], found["top_2"]) == (by_text, by_text[:2])
    assert "AssertionError" in found["error"]


def test_infinity_client(served):
    found = ask(served, "light", "infinity_client_calls")

    assert (found["classified"], found["classified_raw"]) == (served.sigmoids, served.scores)
    assert (found["ranked"], found["ranked_raw"]) == (served.ranked, served.ranked_raw[:2])
    assert (found["models"], found["is_up"]) == (["demo"], True)
    assert "UnexpectedStatus" in found["error"]

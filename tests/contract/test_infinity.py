"""What infinity's clients (0.0.78) and litellm's `infinity/` send under `/infinity`, and what they read."""

from __future__ import annotations

import pytest

from service.api.dialects.compat import sigmoid
from service.errors import EngineFailure, TooLong
from tests.contract.test_classify_and_rerank import CHATML, DOCUMENTS, native, ranking
from tests.fakes import FakeServedModel, fake_card

RERANK = {"query": "What is 2+2?", "documents": DOCUMENTS, "model": "default/not-specified"}


async def test_classify_gives_one_label_for_each_text(serve):
    body = {"input": [CHATML, "own text"], "model": "default/not-specified"}
    async with serve() as client:
        reply = await client.post("/infinity/classify", json=body)
        raw = await client.post("/infinity/classify", json=body | {"raw_scores": True})
        expected = [await native(client), await native(client, rendered="own text")]
    assert raw.json()["data"] == [[{"score": score, "label": "LABEL_0"}] for score in expected]
    assert reply.json()["data"] == [[{"score": sigmoid(score), "label": "LABEL_0"}] for score in expected]
    assert (reply.json()["object"], reply.json()["model"]) == ("classify", "demo")
    assert (reply.headers["X-Score-Transform"], raw.headers["X-Score-Transform"]) == ("sigmoid", "raw")


async def test_rerank_is_ordered_by_the_raw_score(serve):
    async with serve() as client:
        reply = (await client.post("/infinity/rerank", json=RERANK)).json()
        raw = (await client.post("/infinity/rerank", json=RERANK | {"raw_scores": True, "top_n": 2})).json()
        expected = await ranking(client)
    shown = [{"relevance_score": sigmoid(score), "index": index} for index, score in expected]
    assert (reply["object"], reply["results"]) == ("rerank", shown)
    assert [(entry["index"], entry["relevance_score"]) for entry in raw["results"]] == expected[:2]


async def test_a_document_comes_as_a_string_and_only_if_asked_for(serve):
    async with serve() as client:
        reply = (await client.post("/infinity/rerank", json=RERANK | {"return_documents": True})).json()
    assert {entry["index"]: entry["document"] for entry in reply["results"]} == dict(enumerate(DOCUMENTS))


async def test_models_and_health(serve):
    async with serve() as client:
        models = (await client.get("/infinity/models")).json()
        health = await client.get("/infinity/health")
    (entry,) = models["data"]
    assert (models["object"], entry["id"]) == ("list", "demo")
    assert (entry["owned_by"], entry["stats"]) == ("infinity", {})  # its client takes no other owner and needs stats
    assert (health.status_code, health.json()["unix"] > 1.7e9) == (200, True)


async def test_health_says_503_while_no_score_can_be_had(serve):
    async with serve(FakeServedModel(not_ready_because="the engine thread is dead")) as client:
        health = await client.get("/infinity/health")
    assert (health.status_code, health.headers["Retry-After"]) == (503, "2")
    assert "engine thread" in health.json()["error"]["message"]


async def test_health_needs_no_key_and_scores_do(serve):
    async with serve(api_keys=("sesame",)) as client:
        health = await client.get("/infinity/health")
        refused = await client.post("/infinity/rerank", json=RERANK)
    assert (health.status_code, refused.status_code) == (200, 401)
    assert "API key" in refused.json()["detail"]


async def test_errors_have_infinitys_shapes(serve):
    async with serve() as client:
        unread = await client.post("/infinity/rerank", json=RERANK | {"documents": "one text"})
    (detail,) = unread.json()["detail"]
    assert (unread.status_code, detail["loc"]) == (422, ["body", "documents"])
    for error, status in ((TooLong("too long"), 400), (EngineFailure("broke"), 503)):
        async with serve(FakeServedModel(errors={1: error})) as client:
            failed = await client.post("/infinity/classify", json={"input": ["a", "b"]})
        assert (failed.status_code, failed.json()["error"]["code"]) == (status, status)
        assert "item 1" in failed.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"input": []}, {"input": "text"}, {"model": "demo"}])
async def test_a_body_without_a_list_of_texts_is_refused(serve, body):
    async with serve() as client:
        assert (await client.post("/infinity/classify", json=body)).status_code == 422


async def test_of_several_models_the_named_one_answers(serve):
    models = (FakeServedModel(), FakeServedModel(fake_card("other"), scores={0: 2.5}))
    async with serve(*models) as client:
        other = await client.post("/infinity/classify", json={"input": ["a"], "model": "other", "raw_scores": True})
        unknown = await client.post("/infinity/classify", json={"input": ["a"], "model": "third"})
    assert (other.json()["data"][0][0]["score"], other.json()["model"]) == (2.5, "other")
    assert (unknown.status_code, "third" in unknown.json()["error"]["message"]) == (404, True)

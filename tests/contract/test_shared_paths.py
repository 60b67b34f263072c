"""Paths that several servers claim: the body's keys say whose it is, and so do errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.api.dialects.compat import sigmoid
from tests.contract.test_classify_and_rerank import CHATML, DOCUMENTS, native
from tests.fakes import FakeServedModel, fake_card

QUERY = "What is 2+2?"


async def native_scores(client):
    return [await native(client, prompt=QUERY, response=text) for text in DOCUMENTS]


@pytest.mark.parametrize(
    "keys", [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")], ids="+".join
)
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_vllms_text_pairs_by_any_of_their_names(serve, path, keys):
    first, second = keys
    body = {"model": "m", first: QUERY, second: DOCUMENTS}
    async with serve() as client:
        reply = await client.post(path, json=body)
        raw = await client.post(path, json=body | {"use_activation": False})
        expected = await native_scores(client)
    assert [entry["score"] for entry in reply.json()["data"]] == [sigmoid(score) for score in expected]
    assert [entry["score"] for entry in raw.json()["data"]] == expected
    assert (reply.headers["X-Score-Transform"], raw.headers["X-Score-Transform"]) == ("sigmoid", "raw")


async def test_v1_score_with_pairs_is_ours_and_strict(serve):
    body = {"pairs": [{"prompt": QUERY, "response": DOCUMENTS[0]}]}
    async with serve() as client:
        ours = await client.post("/v1/score", json=body)
        mixed = await client.post("/v1/score", json=body | {"text_1": QUERY})
    assert list(ours.json())[:3] == ["model", "fingerprint", "results"]
    assert (mixed.status_code, mixed.json()["error"]["code"]) == (422, "invalid_fields")
    assert "text_1: unknown field" in mixed.json()["error"]["message"]


NATIVE = {"code", "message", "retryable"}
VLLM = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "body", "status", "shape"),
    [
        ("/v1/score", {"text_1": "a"}, 400, {"error": VLLM}),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, 400, {"error": VLLM}),
        ("/v1/score", {"documents": [1]}, 400, {"error": VLLM}),
        ("/v1/score", {}, 422, {"error": NATIVE}),
        ("/v1/score", {"pairs": 1}, 422, {"error": NATIVE}),
        ("/v1/score", [], 422, {"error": NATIVE}),
        ("/classify", {}, 400, {"error": VLLM}),
        ("/classify", {"input": {}}, 400, {"error": VLLM}),
        ("/classify", {"text": {}}, 400, VLLM | {"object"}),
        ("/classify", {"text": "a", "input_ids": [1]}, 400, VLLM | {"object"}),
        ("/v1/classify", "text", 400, {"error": VLLM}),
        ("/rerank", {"query": "q"}, 400, {"error": VLLM}),
        ("/rerank", {"query": "q", "documents": "d"}, 400, {"error": VLLM}),
        ("/rerank", {"texts": ["a"]}, 422, {"error", "error_type"}),
        ("/rerank", {"query": "q", "texts": []}, 422, {"error", "error_type"}),
        ("/v1/rerank", {"query": "q"}, 422, {"message"}),
    ],
)
async def test_a_malformed_body_is_told_so_in_the_words_of_whose_it_looks_like(serve, path, body, status, shape):
    async with serve() as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == status
    found = reply.json()
    if isinstance(shape, dict):
        assert set(found) == {"error"}
        assert set(found["error"]) - {"param"} == shape["error"] - {"param"}
    else:
        assert set(found) == shape


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/v1/score", lambda r: r["error"]["code"]),
        ("/classify", lambda r: r["error"]["code"]),
        ("/rerank", lambda r: r["error"]["code"]),
    ],
)
async def test_what_is_no_json_has_the_shape_of_the_paths_first_owner(serve, path, read):
    async with serve() as client:
        reply = await client.post(path, content=b"{")
    assert (reply.status_code, read(reply.json())) == (400, "malformed_body" if path == "/v1/score" else 400)


async def test_sglangs_v1_classify_gives_the_raw_score_and_not_the_softmax_of_one_label(serve):
    """SGLang itself puts a softmax over the labels, so that a one-label model says 1.0 for everything there."""
    async with serve() as client:
        reply = await client.post("/v1/classify", json={"model": "m", "input": [CHATML, "own text"], "rid": "r"})
        expected = [await native(client), await native(client, rendered="own text")]
    assert [entry["probs"] for entry in reply.json()["data"]] == [[score] for score in expected]
    assert [entry["num_classes"] for entry in reply.json()["data"]] == [1, 1]


async def test_sglangs_own_body_is_told_by_its_keys_on_v1_classify_too(serve):
    async with serve() as client:
        reply = await client.post("/v1/classify", json={"text": [CHATML]})
        assert [entry["embedding"] for entry in reply.json()] == [[await native(client)]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify", {"input": "a"}),
        ("/pooling", {"input": "a"}),
        ("/score", {"text_1": "a", "text_2": "b"}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]},
        ),
    ],
)
async def test_of_several_models_the_reply_tells_of_the_one_that_answered(serve, path, body):
    other = replace(fake_card("other"), created_s=1)
    async with serve(FakeServedModel(), FakeServedModel(other)) as client:
        named = (await client.post(path, json=body | {"model": "other"})).json()
        unnamed = (await client.post(path, json=body)).json()
        unknown = await client.post(path, json=body | {"model": "third"})
    assert (named["model"], named["created"]) == ("other", 1)
    assert (unnamed["model"], unnamed["created"]) == ("demo", fake_card().created_s)
    assert unknown.status_code == 404

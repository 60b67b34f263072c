"""What clients of vLLM, SGLang, TEI, Cohere and Jina send, and what they read: one float everywhere."""

from __future__ import annotations

import base64
import struct

import pytest

from service.api.dialects.compat import sigmoid
from service.errors import EngineFailure, TooLong
from tests.fakes import FakeServedModel

CHATML = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\nIt is 4.<|im_end|>\n"
MESSAGES = [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "It is 4."}]
DOCUMENTS = ["It is 4.", "It is 5.", "Potato."]


async def native(client, **pair):
    body = {"pairs": [pair or {"prompt": "What is 2+2?", "response": "It is 4."}]}
    return (await client.post("/v1/score", json=body)).json()["results"][0]["score"]


async def ranking(client):
    body = {"prompt": "What is 2+2?", "responses": DOCUMENTS}
    return [(entry["index"], entry["score"]) for entry in (await client.post("/v1/rank", json=body)).json()["results"]]


RAW = {
    "vllm classify": (
        "/classify",
        {"model": "any", "input": CHATML, "use_activation": False},
        lambda r: r["data"][-1]["probs"][-1],
    ),
    "older verl": ("/classify", {"input": CHATML, "activation": False}, lambda r: r["data"][-1]["probs"][-1]),
    "by default": ("/v1/classify", {"input": [CHATML]}, lambda r: r["data"][0]["probs"][0]),
    "vllm chat": ("/classify", {"messages": MESSAGES}, lambda r: r["data"][0]["probs"][0]),
    "vllm pooling": ("/pooling", {"input": CHATML}, lambda r: r["data"][0]["data"][0]),
    "vllm score": (
        "/score",
        {"text_1": "What is 2+2?", "text_2": ["It is 4."], "use_activation": False},
        lambda r: r["data"][0]["score"],
    ),
    "sglang classify": ("/classify", {"text": CHATML}, lambda r: r["embedding"][0]),
    "sglang list": ("/classify", {"text": [CHATML]}, lambda r: r[0]["embedding"][0]),
    "verl sglang": ("/v1/embeddings", {"model": "m", "input": CHATML}, lambda r: r["data"][-1]["embedding"][-1]),
    "base64": (
        "/v1/embeddings",
        {"input": CHATML, "encoding_format": "base64"},
        lambda r: struct.unpack("<f", base64.b64decode(r["data"][0]["embedding"]))[0],
    ),
    "tei pair": ("/predict", {"inputs": ["What is 2+2?", "It is 4."], "raw_scores": True}, lambda r: r[0]["score"]),
    "tei batch": ("/", {"inputs": [[CHATML]], "raw_scores": True}, lambda r: r[0][0]["score"]),
}


@pytest.mark.parametrize("case", RAW)
async def test_raw_routes_give_the_native_float(serve, case):
    path, body, read = RAW[case]
    async with serve() as client:
        reply = await client.post(path, json=body)
        assert reply.status_code == 200, reply.text
        assert read(reply.json()) == await native(client)
        assert reply.headers["X-Score-Transform"] == "raw"


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        ("/classify", {"input": [CHATML, CHATML], "use_activation": True}, lambda r: r["data"][0]["probs"][0]),
        ("/score", {"queries": "What is 2+2?", "documents": "It is 4."}, lambda r: r["data"][0]["score"]),
        ("/predict", {"inputs": CHATML}, lambda r: r[0]["score"]),
    ],
)
async def test_where_0_to_1_is_promised_it_is_the_fp32_sigmoid(serve, path, body, read):
    async with serve() as client:
        reply = await client.post(path, json=body)
        assert read(reply.json()) == sigmoid(await native(client)) < 1.0
        assert reply.headers["X-Score-Transform"] == "sigmoid"


async def test_text_without_marks_and_ids_are_the_models_whole_input(serve):
    async with serve() as client:
        text = await client.post("/classify", json={"input": ["own text"]})
        ids = await client.post("/classify", json={"input": [[1, 2, 3], [4, 5]]})
        assert text.json()["data"][0]["probs"] == [await native(client, rendered="own text")]
        assert ids.json()["data"][1]["probs"] == [await native(client, prompt_ids=[4], response_ids=[5])]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_rerank_objects_are_ordered_by_the_raw_score(serve, path):
    body = {"model": "m", "query": "What is 2+2?", "documents": DOCUMENTS, "top_n": 2, "max_tokens_per_doc": None}
    async with serve() as client:
        results = (await client.post(path, json=body)).json()["results"]
        expected = (await ranking(client))[:2]
        raw = (await client.post(path, json=body | {"raw_scores": True})).json()["results"]
    assert [(entry["index"], entry["raw_score"]) for entry in results] == expected
    assert [entry["relevance_score"] for entry in results] == [sigmoid(score) for _, score in expected]
    assert [entry["relevance_score"] for entry in raw] == [score for _, score in expected]
    assert all("document" not in entry for entry in results)


async def test_cohere_v1_documents_and_rank_fields(serve):
    documents = [{"text": "It is 4."}, {"title": "x", "text": "Potato."}]
    body = {"query": "q", "documents": documents, "return_documents": True}
    async with serve() as client:
        shown = (await client.post("/v1/rerank", json=body)).json()["results"]
        missing = await client.post("/v1/rerank", json=body | {"rank_fields": ["title"]})
    assert {entry["document"]["text"] for entry in shown} == {"It is 4.", "Potato."}
    assert (missing.status_code, "documents[0]" in missing.json()["message"]) == (422, True)


async def test_what_litellm_sends_to_tei_by_itself_is_harmless(serve):
    body = {"query": "What is 2+2?", "texts": DOCUMENTS, "raw_scores": False, "truncation_direction": "Right"}
    async with serve() as client:
        ranked = (await client.post("/rerank", json=body)).json()
        assert [(entry["index"], entry["score"]) for entry in ranked] == [
            (index, sigmoid(score)) for index, score in await ranking(client)
        ]


async def test_tei_rerank(serve):
    body = {"query": "What is 2+2?", "texts": DOCUMENTS, "raw_scores": True, "return_text": True, "top_n": 1}
    async with serve() as client:
        ranked = (await client.post("/rerank", json=body)).json()
        assert [(entry["index"], entry["score"]) for entry in ranked] == await ranking(client)
        assert (await client.get("/info")).json()["max_input_length"] == 4096
    assert all(entry["text"] == DOCUMENTS[entry["index"]] for entry in ranked)


@pytest.mark.parametrize(
    ("path", "body", "status", "message_at"),
    [
        ("/classify", {"input": ["a", "b"]}, 400, ("error", "message")),
        ("/classify", {"text": ["a", "b"]}, 400, ("message",)),
        ("/v2/rerank", {"query": "q", "documents": ["a", "b"]}, 422, ("message",)),
        ("/rerank", {"query": "q", "texts": ["a", "b"]}, 422, ("error",)),
        ("/predict", {"inputs": [["a"], ["b"]]}, 422, ("error",)),
    ],
)
async def test_a_bad_item_fails_the_request_in_the_dialects_own_shape(serve, path, body, status, message_at):
    for error, expected in ((TooLong("too long"), status), (EngineFailure("broke"), 503)):
        async with serve(FakeServedModel(errors={1: error})) as client:
            reply = await client.post(path, json=body)
        message = reply.json()
        for key in message_at:
            message = message[key]
        assert reply.status_code == expected
        assert "item 1" in message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify", {"input": "x", "truncate_prompt_tokens": 5}),
        ("/classify", {"input": "x", "messages": MESSAGES}),
        ("/classify", {"text": "x", "dimensions": 1}),
        ("/rerank", {"query": "q", "texts": ["a"], "truncate": True}),
        ("/predict", {"inputs": ["a", "b", "c"]}),
        ("/score", {"text_1": ["a", "b"], "text_2": ["c"]}),
    ],
)
async def test_what_would_change_the_score_and_is_not_honoured_is_refused(serve, path, body):
    async with serve() as client:
        assert (await client.post(path, json=body)).status_code in (400, 422)

"""The real server gives one float for one conversation, whichever route and policy template it came in by."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tests.contract.test_policy_templates import CASES
from tests.end_to_end.process import running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("dialects") / "log", "demo") as server:
        yield server


def native(server, prompt, response):
    body = {"pairs": [{"prompt": prompt, "response": response}]}
    return server.post("/v1/score", body)[1]["results"][0]["score"]


def infer(server, *inputs):
    return server.post("/v2/models/reward_model/infer", {"inputs": inputs})[1]["outputs"][0]["data"]


@pytest.mark.parametrize(("name", "text", "conversation", "ended"), CASES)
def test_policy_text_scores_as_its_messages(server, name, text, conversation, ended):
    expected = native(server, [asdict(turn) for turn in conversation.prompt], conversation.response)
    assert server.post("/get_reward", {"query": [text], "prompts": ["x"]})[1]["rewards"] == [expected]
    assert server.post("/slime", {"prompt": text[:9], "response": text[9:]})[1] == expected
    assert server.post("/classify", {"input": text, "use_activation": False})[1]["data"][-1]["probs"] == [expected]
    assert server.post("/pooling", {"input": text})[1]["data"][0]["data"] == [expected]
    assert server.post("/v1/embeddings", {"input": text})[1]["data"][-1]["embedding"] == [expected]
    assert server.post("/classify", {"text": text})[1]["embedding"] == [expected]
    assert server.post("/predict", {"inputs": text, "raw_scores": True})[1][0]["score"] == expected
    assert (
        server.post("/infinity/classify", {"input": [text], "raw_scores": True})[1]["data"][0][0]["score"] == expected
    )
    assert infer(server, {"name": "sentences", "datatype": "BYTES", "shape": [1, 1], "data": [text]}) == [expected]


@pytest.mark.parametrize(("name", "text", "conversation", "ended"), CASES)
def test_messages_score_the_same_on_chat_routes(server, name, text, conversation, ended):
    prompt = [asdict(turn) for turn in conversation.prompt]
    expected = native(server, prompt, conversation.response)
    messages = [*prompt, {"role": "assistant", "content": conversation.response}]
    assert server.post("/classify", {"messages": messages})[1]["data"][0]["probs"] == [expected]
    choice = server.post("/v1/chat/completions", {"messages": messages})[1]["choices"][0]
    assert float(choice["message"]["content"].removeprefix("reward:")) == expected
    assert choice["logprobs"]["content"][0]["logprob"] == expected


def test_the_models_own_ids_score_as_the_text_they_came_from(server):
    pair = {"prompt": "What is 2+2?", "response": "2+2 is 4."}
    ids = server.post("/v1/tokenize", {"pairs": [pair]})[1]["results"][0]["ids"]
    expected = native(server, **pair)
    padded = {"name": "tokens", "datatype": "INT64", "shape": [1, len(ids) + 3], "data": [*ids, 0, 0, 0]}
    lengths = {"name": "sequence_lengths", "datatype": "INT64", "shape": [1, 1], "data": [len(ids)]}
    assert infer(server, padded, lengths) == [expected]
    assert server.post("/classify", {"input": ids})[1]["data"][0]["probs"] == [expected]
    assert server.post("/classify", {"input_ids": ids})[1]["embedding"] == [expected]


def test_rerank_routes_order_by_the_native_float(server):
    query, texts = "What is 2+2?", ["2+2 is 4.", "Potato.", "It is 5, you fool."]
    scores = [native(server, query, text) for text in texts]
    expected = sorted(enumerate(scores), key=lambda pair: -pair[1])
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        results = server.post(path, {"query": query, "documents": texts})[1]["results"]
        assert [(entry["index"], entry["raw_score"]) for entry in results] == expected
    tei = server.post("/rerank", {"query": query, "texts": texts, "raw_scores": True})[1]
    assert [(entry["index"], entry["score"]) for entry in tei] == expected
    infinity = server.post("/infinity/rerank", {"query": query, "documents": texts, "raw_scores": True})[1]["results"]
    assert [(entry["index"], entry["relevance_score"]) for entry in infinity] == expected
    for path in ("/score", "/v1/score"):
        vllm = server.post(path, {"queries": query, "documents": texts, "use_activation": False})[1]["data"]
        assert [entry["score"] for entry in vllm] == scores


def test_the_models_own_rendered_text_is_taken_as_it_is(server):
    pair = {"prompt": "What is 2+2?", "response": "2+2 is 4."}
    rendered = server.post("/v1/tokenize", {"pairs": [pair]})[1]["results"][0]["rendered"]
    expected = native(server, **pair)
    for text in (rendered, rendered.removeprefix("<s>")):
        assert server.post("/classify", {"input": text})[1]["data"][0]["probs"] == [expected]

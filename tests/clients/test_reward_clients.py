"""Clients that want one number of a conversation: raw floats equal to `/v1/score`'s."""

from __future__ import annotations

import pytest

from tests.clients.conftest import ask

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]


def test_openai(served):
    found = ask(served, "apps", "openai_client")

    assert found["models"] == ["demo"]
    assert found["content"] == f"reward:{served.scores[0]!r}"
    assert found["logprobs"] == {"reward": served.scores[0]}
    assert found["embeddings"] == found["embeddings_float"] == [[score] for score in served.scores]
    assert "BadRequestError" in found["error"]
    assert "BadRequestError" in found["stream_error"]


def test_huggingface_hub(served):
    found = ask(served, "apps", "huggingface_hub_classify")

    assert (found["scores"], found["raw"]) == (served.sigmoids, served.scores)
    assert "HfHubHTTPError" in found["error"]


def test_tritonclient(served):
    found = ask(served, "triton", "tritonclient_infer")

    ways = ("json", "binary", "binary to json", "json to binary")
    assert found["sentences"] == found["tokens"] == dict.fromkeys(ways, served.scores)
    assert found["compressed"] == dict.fromkeys(("gzip", "deflate"), served.scores)
    assert (found["is_live"], found["is_ready"], found["index"]) == (True, True, ["demo"])
    assert found["extensions"] == ["binary_tensor_data"]
    assert found["outputs"] == [{"name": "rewards", "datatype": "FP32", "shape": [-1, 1]}]
    assert found["max_batch_size"] > 0
    assert "InferenceServerException" in found["error"]


def test_pytriton(open_served):
    """It can show no key: not in a header that is read, nor in its URL."""
    found = ask(open_served, "triton", "pytriton_infer")

    assert found["tokens"] == found["sentences"] == found["plainly"] == open_served.scores
    assert "PyTritonClientInferenceServerError" in found["error"]

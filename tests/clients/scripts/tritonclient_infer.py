"""tritonclient: JSON and binary tensors, compressed or not."""

from __future__ import annotations

import numpy as np
import tritonclient.http as triton
from helper import raised, read_task, tell

task = read_task()
client = triton.InferenceServerClient(task["url"].removeprefix("http://"), network_timeout=60.0)
# A dictionary of its own for each inference: the client writes into it.
key = {"Authorization": f"Bearer {task['key']}"}


def given(name, values, datatype, is_binary):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=is_binary)
    return tensor


def infer(inputs, is_binary_out, compression=None):
    output = triton.InferRequestedOutput("rewards", binary_data=is_binary_out)
    reply = client.infer(
        "reward_model", inputs, outputs=[output], request_compression_algorithm=compression, headers=dict(key)
    )
    rewards = reply.as_numpy("rewards")
    assert (rewards.dtype, rewards.shape) == (np.float32, (len(rewards), 1))
    return [float(reward) for reward in rewards[:, 0]]


def sentences(texts, is_binary):
    column = np.array([text.encode() for text in texts], dtype=object)[:, None]
    return [given("sentences", column, "BYTES", is_binary)]


def tokens(is_binary):
    width = max(map(len, task["ids"]))
    padded = np.array([[*ids, *[0] * (width - len(ids))] for ids in task["ids"]], dtype=np.int64)
    lengths = np.array([[len(ids)] for ids in task["ids"]], dtype=np.int64)
    return [given("tokens", padded, "INT64", is_binary), given("sequence_lengths", lengths, "INT64", is_binary)]


ways = {
    "json": (False, False),
    "binary": (True, True),
    "binary to json": (True, False),
    "json to binary": (False, True),
}
tell(
    sentences={way: infer(sentences(task["rendered"], sent), got) for way, (sent, got) in ways.items()},
    tokens={way: infer(tokens(sent), got) for way, (sent, got) in ways.items()},
    compressed={kind: infer(sentences(task["rendered"], True), True, kind) for kind in ("gzip", "deflate")},
    is_live=client.is_server_live(),
    is_ready=client.is_server_ready() and client.is_model_ready("reward_model", headers=key),
    extensions=client.get_server_metadata(headers=key)["extensions"],
    outputs=client.get_model_metadata("reward_model", headers=key)["outputs"],
    max_batch_size=client.get_model_config("reward_model", headers=key)["max_batch_size"],
    index=[model["name"] for model in client.get_model_repository_index(headers=key)],
    error=raised(lambda: infer(sentences([task["too_long"]], True), True)),
)

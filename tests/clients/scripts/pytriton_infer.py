"""nvidia-pytriton: the client that NeMo-Aligner's trainers use, and the plain one."""

from __future__ import annotations

import numpy as np
from helper import raised, read_task, tell
from pytriton.client import FuturesModelClient, ModelClient

task = read_task()
width = max(map(len, task["ids"]))
padded = np.array([[*ids, *[0] * (width - len(ids))] for ids in task["ids"]], dtype=np.int64)
lengths = np.array([[len(ids)] for ids in task["ids"]], dtype=np.int64)


def texts(given):
    return np.array([[text.encode()] for text in given], dtype=np.bytes_)


def rewards_of(reply):
    rewards = reply["rewards"]
    assert (rewards.dtype, rewards.shape) == (np.float32, (len(rewards), 1))
    return [float(reward) for reward in rewards[:, 0]]


def plainly(given):
    with ModelClient(task["url"], "reward_model") as client:
        return rewards_of(client.infer_batch(sentences=texts(given)))


with FuturesModelClient(task["url"], "reward_model") as client:
    futures = [
        client.infer_batch(tokens=padded, sequence_lengths=lengths),
        client.infer_batch(sentences=texts(task["rendered"])),
    ]
    of_tokens, of_sentences = (rewards_of(future.result()) for future in futures)
tell(
    tokens=of_tokens,
    sentences=of_sentences,
    plainly=plainly(task["rendered"]),
    error=raised(lambda: plainly([task["too_long"]])),
)

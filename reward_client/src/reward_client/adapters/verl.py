"""verl: the function of `custom_reward_function.path` and `.name`.

Written against verl's documented contract (its reward loop, 2026): one sample a call, awaited if it is an
`async def`, called with `data_source, solution_str, ground_truth, extra_info` and, when verl runs a reward model of
its own, `reward_router_address` and `reward_model_tokenizer`. verl does not pass the prompt: the dataset must hold it
in `extra_info`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Callable

from reward_client._async_loops import LoopClients
from reward_client.adapters._shared import TRAINER_OPTIONS, Pin, plain_messages, timeouts_as_unavailable
from reward_client.errors import InvalidPair
from reward_client.values import Pair, Prompt

OPTIONS: Mapping[str, Any] = {**TRAINER_OPTIONS, "timeout_s": 240.0, "max_connections": 256}
"""One sample is one request here, so many must be under way for the server to batch; and the call must fail
before verl's rate-limited manager gives up after 300 s with the reward 0."""


def verl_compute_score(
    url: str, *, prompt_key: str = "prompt", fingerprint: str = "first", **client_options: Any
) -> Callable[..., Coroutine[Any, Any, float]]:
    """Returns an `async def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs)`.

    Args:
        url: The server's address.
        prompt_key: Where `extra_info` holds the prompt: text, or messages.
        fingerprint: As of `trl_reward`.
        client_options: As of `AsyncClient`.

    Raises:
        InvalidPair: from the function, if `extra_info` does not hold the prompt.
        RewardServerError: from the function, as `AsyncClient.score` does, but never a `TimeoutError`.

    Example:
        A file for `custom_reward_function.path`, with `custom_reward_function.name=compute_score`::

            from reward_client.adapters import verl_compute_score

            compute_score = verl_compute_score("http://127.0.0.1:8000", prompt_key="question")
    """
    clients = LoopClients(url, {**OPTIONS, **client_options})
    pin = Pin(fingerprint)

    async def compute_score(
        data_source: str,
        solution_str: str,
        ground_truth: object,
        extra_info: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> float:
        pair = Pair(prompt_in(extra_info, prompt_key), solution_str)
        with timeouts_as_unavailable():
            reply = await (await clients.current()).score([pair], fingerprint=pin.demanded)
        pin.check(reply)
        return reply.scores[0]

    return compute_score


def prompt_in(extra_info: Mapping[str, Any] | None, key: str) -> Prompt:
    """Returns the prompt that the dataset put into `extra_info`; messages from a parquet file come as an array.

    Raises:
        InvalidPair: if it is not there, or neither text nor messages.
    """
    known = extra_info or {}
    if key not in known:
        raise InvalidPair(
            f"extra_info has {sorted(map(str, known)) or 'nothing'}, no {key!r}; verl does not pass the prompt, so the "
            "dataset must put it there (text or messages), or prompt_key=… must name the field that has it"
        )
    prompt = known[key]
    if isinstance(prompt, str):
        return prompt
    messages = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(messages, Sequence) or not all(isinstance(message, Mapping) for message in messages):
        raise InvalidPair(f"extra_info[{key!r}] is a {type(prompt).__name__}; it must be text or a list of messages")
    return plain_messages(messages)

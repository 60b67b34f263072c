"""TRL: reward functions for GRPOTrainer and RLOOTrainer (awaited) and OnlineDPOTrainer (blocking).

Written against trl 1.16.0, `trl/trainer/grpo_trainer.py::_calculate_rewards` and
`trl/experimental/online_dpo/online_dpo_trainer.py`: everything comes by keyword, every dataset column as a list, and
an asynchronous function is recognised by `inspect.iscoroutinefunction`, so that a callable object would be called
and not awaited. Its `__name__` names the metrics.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Callable, Union

from reward_client._async_loops import LoopClients
from reward_client._settings import check_choice
from reward_client.adapters._shared import TRAINER_OPTIONS, Pin, client_for, frozen, plain_messages, text_of
from reward_client.errors import InvalidPair, PairFailed
from reward_client.values import Pair, ScoreReply

Turns = Union[str, Sequence[Mapping[str, Any]]]
"""Text (TRL's standard format) or messages (its conversational format)."""
Rewards = list[Union[float, None]]
ON_PAIR_ERROR = ("raise", "none")


def trl_reward(
    url: str,
    *,
    name: str = "reward_server",
    fingerprint: str = "first",
    on_pair_error: str = "raise",
    **client_options: Any,
) -> Callable[..., Coroutine[Any, Any, Rewards]]:
    """Returns an `async def` for `GRPOTrainer(reward_funcs=…)` or `RLOOTrainer`.

    Called as `f(prompts, completions, completion_ids, **columns)`, it returns one raw score for each completion.
    All go in one call, those of one prompt next to each other, so that the server computes the prompt once.

    Args:
        url: The server's address.
        name: What the metrics are called: `rewards/{name}/mean`.
        fingerprint: `first` (all scores have the first reply's fingerprint, or the run stops), `any`, or the
            fingerprint to demand.
        on_pair_error: What becomes of a completion that the model cannot score, such as a too long one: `raise`, or
            `none`: its reward is None, which trl 1.16 leaves out of its group's baseline (older ones may count it
            as 0). A server that fails always raises.
        client_options: As of `AsyncClient`.

    Raises:
        RewardServerError: from the function, as `AsyncClient.score` does; TRL lets it end the run.
    """
    clients = LoopClients(url, {**TRAINER_OPTIONS, **client_options})
    rule = _Rule(name, Pin(fingerprint), on_pair_error)

    async def reward(
        prompts: Sequence[Turns], completions: Sequence[Turns], completion_ids: object = None, **columns: Any
    ) -> Rewards:
        pairs = pairs_of(prompts, completions)
        try:
            reply = await (await clients.current()).score(pairs, fingerprint=rule.pin.demanded)
        except PairFailed as error:
            reply = rule.accepted(error)
        return rule.rewards(reply, columns)

    reward.__name__ = reward.__qualname__ = name
    return reward


def trl_reward_sync(
    url: str,
    *,
    name: str = "reward_server",
    fingerprint: str = "first",
    on_pair_error: str = "raise",
    **client_options: Any,
) -> Callable[..., Rewards]:
    """As `trl_reward`, blocking: for `OnlineDPOTrainer`, which does not await reward functions."""
    options = frozen(client_options)
    client_for(url, options)  # wrong options raise here
    rule = _Rule(name, Pin(fingerprint), on_pair_error)

    def reward(
        prompts: Sequence[Turns], completions: Sequence[Turns], completion_ids: object = None, **columns: Any
    ) -> Rewards:
        pairs = pairs_of(prompts, completions)
        try:
            reply = client_for(url, options).score(pairs, fingerprint=rule.pin.demanded)
        except PairFailed as error:
            reply = rule.accepted(error)
        return rule.rewards(reply, columns)

    reward.__name__ = reward.__qualname__ = name
    return reward


def pairs_of(prompts: Sequence[Turns], completions: Sequence[Turns]) -> list[Pair]:
    """Returns the pairs of TRL's two lists.

    Raises:
        InvalidPair: if the lists differ in length, or a completion does not end in text of the assistant.
    """
    if len(prompts) != len(completions):
        raise InvalidPair(f"{len(prompts)} prompts and {len(completions)} completions; there must be equally many")
    return [_pair(index, *both) for index, both in enumerate(zip(prompts, completions))]


def _pair(index: int, prompt: Turns, completion: Turns) -> Pair:
    if isinstance(completion, str):
        return Pair(prompt if isinstance(prompt, str) else plain_messages(prompt), completion)
    if not completion or completion[-1].get("role") != "assistant":
        roles = [message.get("role") for message in completion]
        raise InvalidPair(f"completion {index} has turns of {roles}; the last must be the assistant's")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else plain_messages(prompt)
    return Pair([*turns, *plain_messages(completion[:-1])], text_of(completion[-1]))


class _Rule:
    """What becomes of a reply in both kinds of reward function."""

    def __init__(self, name: str, pin: Pin, on_pair_error: str) -> None:
        check_choice("on_pair_error", on_pair_error, ON_PAIR_ERROR)
        self.pin = pin
        self._name = name
        self._may_be_none = on_pair_error == "none"

    def accepted(self, error: PairFailed) -> ScoreReply:
        """Returns the reply of a call in which pairs failed for good, if that is allowed; else raises."""
        if not self._may_be_none or error.reply is None:
            raise error
        if any(result.error is not None and result.error.retryable for result in error.failed):
            raise error
        return error.reply

    def rewards(self, reply: ScoreReply, columns: Mapping[str, Any]) -> Rewards:
        """Returns the scores, and tells TRL the share of completions without one."""
        self.pin.check(reply)
        rewards = [result.score for result in reply.results]
        log_metric = columns.get("log_metric")
        if self._may_be_none and log_metric is not None and rewards:
            log_metric(f"{self._name}/unscored", rewards.count(None) / len(rewards))
        return rewards

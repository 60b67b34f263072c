"""OpenRLHF's remote reward model: `POST /get_reward`, as `openrlhf/utils/agent.py` of v0.11.0 calls it.

One sample a call: `{"query": [text], "prompts": [text], "labels": [any]}`, with `query` decoded by the policy's
tokenizer, special tokens kept. The client shards over its URLs, so that lists may be empty. Whatever is not 2xx it
tries again five times, then leaves the reward unset: a failure is therefore never a number here.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects.compat import DeskDep, LenientBody, answer_to, policy_pair, values
from service.api.dialects.policy_templates import Wanted
from service.api.error_mapping import native_shape
from service.api.json_io import JsonReply, JsonRoute
from service.errors import BadConversation
from service.types import PairInput, Priority

NAME: Final = "openrlhf"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])


class GetRewardBody(LenientBody):
    """What OpenRLHF sends; `labels` is for rules, not for reward models."""

    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None


@router.post("/get_reward", summary="OpenRLHF: rewards of policy text")
async def get_reward(body: GetRewardBody, desk: DeskDep) -> Response:
    """Gives raw rewards in the order of `query`; empty lists get empty lists."""
    if body.prompts is not None and len(body.prompts) != len(body.query):
        message = f"query has {len(body.query)} items and prompts {len(body.prompts)}; allowed: equally many"
        raise BadConversation(message, param="prompts")
    prompts = body.prompts if body.prompts is not None else [None] * len(body.query)
    read = [read_query(query, prompt, desk.policy_template) for query, prompt in zip(body.query, prompts, strict=True)]
    outcomes = await desk.scores([pair for pair, _ in read], NAME, Priority.BULK)
    rewards = values(outcomes)
    ended = [float(ended) for _, ended in read if ended is not None]
    logs = {"ended": ended} if ended and len(ended) == len(read) else {}
    return JsonReply({"rewards": rewards, "scores": rewards, "extra_logs": {"raw_reward": rewards, **logs}})


def read_query(query: str, prompt: str | None, policy_template: Wanted) -> tuple[PairInput, bool | None]:
    """The pair that a `query` means, and whether its answer ended, where its template tells.

    Raises:
        BadConversation: If it is rendered in no template that is known, or plain and not its prompt and more.
    """
    found = policy_pair(query, policy_template)
    if found is not None:
        return found
    if prompt is None or not query.startswith(prompt):
        raise BadConversation(
            "query is plain text that does not begin with its prompt, so that nobody can tell where the response "
            "begins; allowed: text in a policy template, plain text that begins with prompts[i], or --policy-template"
        )
    return answer_to(prompt, query.removeprefix(prompt)), None


DIALECT: Final = Dialect(NAME, router, native_shape)

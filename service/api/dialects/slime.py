"""slime's and miles' `--rm-type remote_rm`: `POST /slime`, as `slime/rollout/rm_hub` (624b824) calls it.

One sample a call; the whole reply is the reward: a bare JSON number, or with `?as=dict` an object for
`--reward-key score`. `prompt` is whatever the data set had: text (rendered or not) or messages.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.api.dialect import Dialect
from service.api.dialects.compat import DeskDep, LenientBody, Turn, answer_to, messages_of, policy_pair, values
from service.api.dialects.policy_templates import Wanted
from service.api.error_mapping import native_shape
from service.api.json_io import JsonReply, JsonRoute
from service.types import Conversation, PairInput, Priority

NAME: Final = "slime"
router: Final = APIRouter(route_class=JsonRoute, tags=[NAME])


class SlimeBody(LenientBody):
    """One sample."""

    prompt: str | list[Turn]
    response: str
    label: Any = None


@router.post("/slime", summary="slime and miles: the reward of one sample")
async def reward(
    body: SlimeBody, desk: DeskDep, shape: Literal["number", "dict"] = Query("number", alias="as")
) -> Response:
    """Gives the raw reward as a bare number, or as `{"score": …, "ended": …}`."""
    pair, ended = read_sample(body, desk.policy_template)
    (score,) = values(await desk.scores([pair], NAME, Priority.BULK))
    return JsonReply(score if shape == "number" else {"score": score, "ended": ended})


def read_sample(body: SlimeBody, policy_template: Wanted) -> tuple[PairInput, bool | None]:
    """The pair that a sample means, and whether its answer ended, where its template tells."""
    if isinstance(body.prompt, list):
        return Conversation(messages_of(body.prompt), body.response), None
    found = policy_pair(body.prompt + body.response, policy_template)
    return (answer_to(body.prompt, body.response), None) if found is None else found


DIALECT: Final = Dialect(NAME, router, native_shape)

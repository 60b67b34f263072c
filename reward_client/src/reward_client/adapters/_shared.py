"""What the adapters share: one client in each process, one fingerprint in each run, plain messages.

Knows no trainer.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from reward_client._client import Client
from reward_client.errors import DeadlineExceeded, FingerprintChanged, InvalidPair, ServerUnavailable
from reward_client.values import ScoreReply

FrozenOptions = tuple[tuple[str, Any], ...]
"""Options of a client as something that can be hashed and pickled."""

TRAINER_OPTIONS: Mapping[str, Any] = {"priority": "bulk"}
"""Trainers wait as bulk work, behind interactive calls, as on the server's trainer routes."""


def frozen(options: Mapping[str, Any]) -> FrozenOptions:
    """Returns a trainer's options in a fixed order, with the defaults of trainers."""
    return tuple(sorted({**TRAINER_OPTIONS, **options}.items()))


@cache
def client_for(url: str, options: FrozenOptions) -> Client:
    """Returns this process's blocking client with these settings; made once, closed when the process ends.

    What holds only `url` and `options` can be pickled to a worker and finds its client there.
    """
    client = Client(url, **dict(options))
    atexit.register(client.close)
    return client


class Pin:
    """Which fingerprint the scores of a run must have.

    Args:
        wanted: `first`: that of the first reply, so that a server that comes back with other weights or other
            numerics stops the run; `any`; or the fingerprint itself.
    """

    def __init__(self, wanted: str) -> None:
        if wanted not in ("first", "any") and not wanted.startswith("sha256:"):
            raise ValueError(f"fingerprint is {wanted!r}; allowed are first, any, or a fingerprint, sha256:…")
        self._wanted = wanted
        self._first: str | None = None

    @property
    def demanded(self) -> str | None:
        """What to demand of the server now."""
        return {"first": self._first, "any": None}.get(self._wanted, self._wanted)

    def check(self, reply: ScoreReply) -> None:
        """Notes the fingerprint of the first reply.

        Raises:
            FingerprintChanged: if calls that ran at the same time, before there was a first, got two.
        """
        if self._wanted != "first" or not reply.fingerprint:
            return
        self._first = self._first or reply.fingerprint
        if reply.fingerprint != self._first:
            raise FingerprintChanged(f"the run began with {self._first}; the server now serves {reply.fingerprint}")


@contextmanager
def timeouts_as_unavailable() -> Iterator[None]:
    """Turns `DeadlineExceeded`, which is a `TimeoutError`, into `ServerUnavailable`, which is not.

    verl's rate-limited manager and AReaL's reward wrapper give the reward 0 after a `TimeoutError`.
    """
    try:
        yield
    except DeadlineExceeded as error:
        raise ServerUnavailable(error.message, code=error.code, request_id=error.request_id) from error


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns messages whose contents are text, without the empty fields that table formats add.

    Raises:
        InvalidPair: if a content is not text, or is made of parts that are not all text.
    """
    return [
        {**{name: value for name, value in message.items() if value is not None}, "content": text_of(message)}
        for message in messages
    ]


def text_of(message: Mapping[str, Any]) -> str:
    """Returns a message's content, joined if it is a list of text parts.

    Raises:
        InvalidPair: if it is not text.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    if not parts or len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise InvalidPair(f"a message of the {message.get('role')} has the content {content!r:.80}; it must be text")
    return "".join(str(text) for text in texts)

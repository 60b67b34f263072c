"""Builds the requests of one call: fields and headers once, then pairs, deadline and pin for each attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reward_client._exchange import Outgoing
from reward_client._pairs import EncodedPair, to_json
from reward_client._settings import CallOptions, Settings


def attempt_timeout_s(settings: Settings, deadline_at: float, now: float) -> float:
    """Returns how long one attempt may take: never past the call's deadline."""
    return max(0.001, min(settings.attempt_timeout_s, deadline_at - now))


def headers_of(settings: Settings, request_id: str, accept: str, *, has_body: bool) -> Mapping[str, str]:
    """Returns all headers of one attempt; every attempt has its own id in the server's log."""
    headers = {**settings.headers, "accept": accept, "x-request-id": request_id}
    if has_body:
        headers["content-type"] = "application/json"
    return headers


class RequestBuilder:
    """Turns encoded pairs into HTTP requests for one route."""

    def __init__(
        self, path: str, settings: Settings, options: CallOptions, *, call_id: str, deadline_at: float
    ) -> None:
        self._path = path
        self._settings = settings
        self._fields = options.fields(settings)
        self._call_id = call_id
        self._deadline_at = deadline_at

    def build(
        self,
        attempt: int,
        pairs: Sequence[EncodedPair],
        pinned: str | None,
        is_streaming: bool,
        now: float,
    ) -> Outgoing:
        """Returns the request of one attempt.

        The server gets a tenth of the time less, at most 2 s, so that its own answer to a passed deadline,
        which carries the scores that are ready, arrives before nobody waits for it.
        """
        timeout_s = attempt_timeout_s(self._settings, self._deadline_at, now)
        server_s = timeout_s - min(2.0, 0.1 * timeout_s)
        fields: dict[str, object] = {**self._fields, "deadline_ms": max(1, int(1000 * server_s))}
        if pinned is not None:
            fields["fingerprint"] = pinned
        accept = "application/x-ndjson" if is_streaming else "application/json"
        headers = headers_of(self._settings, f"{self._call_id}-{attempt}", accept, has_body=True)
        body = to_json(fields)[:-1] + b',"pairs":[' + b",".join(pair.body for pair in pairs) + b"]}"
        return Outgoing("POST", self._path, headers, body, timeout_s, is_streaming)

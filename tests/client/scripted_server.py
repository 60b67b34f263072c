"""A reward server without a model: answers as the API promises, or with the fault that its script says.

A score is a function of the pair's text, so that a test can tell a right number from any other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

FINGERPRINT = "sha256:first"
LOST = -1
"""Stands in place of a status for a connection that breaks before the reply."""


@dataclass(frozen=True)
class Answer:
    """A reply: status, headers and body; `is_cut` if the connection breaks after the body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False


def crc_score(pair: Mapping[str, Any]) -> float:
    """A score that practically no two pairs share; eighths are exact in binary."""
    return zlib.crc32(json.dumps(pair, sort_keys=True).encode()) / 8 - 2.0**27


def length_score(pair: Mapping[str, Any]) -> float:
    """A score that a reader of an example can follow."""
    return float(len(pair["response"]))


@dataclass
class ScriptedServer:
    """Takes a fault from `script` for each POST; when it is used up, `afterwards` for ever.

    Faults are words: see `_FAULTS`. A pair whose prompt is empty fails for good, as on the real server.
    """

    script: Iterable[str] = ()
    afterwards: str = "ok"
    score: Callable[[Mapping[str, Any]], float] = crc_score
    fingerprint: str = FINGERPRINT
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._faults = chain(self.script, repeat(self.afterwards))

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Returns the reply to one request."""
        if method == "GET":
            return self._get(path)
        parsed = json.loads(body)
        self.requests.append({"path": path, "headers": dict(headers), "body": parsed})
        if path == "/v1/verify":
            return _json_answer(200, {"ok": True, "model": parsed.get("model")})
        fault = next(self._faults)
        if path == "/get_reward":
            return self._rewards(fault, parsed)
        if parsed.get("fingerprint") not in (None, self.fingerprint) and fault != "ignore_pin":
            return _error_answer(412, "fingerprint_mismatch", f"serving {self.fingerprint}")
        is_streaming = headers.get("accept") == "application/x-ndjson"
        results = [self._result(path, index, pair) for index, pair in enumerate(parsed["pairs"])]
        return _FAULTS[fault](self, results, is_streaming)

    def _rewards(self, fault: str, parsed: Mapping[str, Any]) -> Answer:
        """OpenRLHF's reply: the score of each query, or the fault."""
        if fault != "ok":
            return _FAULTS[fault](self, [], False)
        texts = zip(parsed["query"], parsed["prompts"], strict=True)
        return _json_answer(
            200, {"rewards": [self.score({"query": query, "prompt": prompt}) for query, prompt in texts]}
        )

    def _get(self, path: str) -> Answer:
        if path == "/v1/models":
            entry = {"id": "demo", "object": "model", "fingerprint": self.fingerprint, "max_tokens": 512}
            return _json_answer(200, {"object": "list", "data": [entry]})
        if path == "/v1/info":
            return _json_answer(200, {"device": "cpu"})
        if path == "/readyz":
            fault = next(self._faults)
            return _json_answer(200, {}) if fault == "ok" else _error_answer(503, "not_ready", "still loading")
        return _error_answer(404, "not_found", f"no route {path}")

    def _result(self, path: str, index: int, pair: Mapping[str, Any]) -> dict[str, Any]:
        placed = {"index": index, "id": pair.get("id")}
        if pair.get("prompt") == "":
            error = {"code": "empty_prompt", "message": "the prompt is empty", "retryable": False}
            return {**placed, "error": error}
        counts = {"prompt_tokens": 2, "response_tokens": 1, "truncated_tokens": 0}
        if path == "/v1/tokenize":
            return {**placed, **counts, "rendered": "[x]", "ids": [1, 2, 3], "cuts": [0]}
        return {**placed, **counts, "score": self.score(pair), "ended": None}

    def reply(self, results: Sequence[Mapping[str, Any]], is_streaming: bool, **changes: Any) -> Answer:
        """Returns these results as the API says, fields changed by `changes`."""
        usage = {"tokens": 3 * len(results), "computed_tokens": 3 * len(results)}
        if is_streaming:
            lines = [*reversed(results), {"usage": usage, **changes}]  # as they finish: in any order
            return Answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        body = {"model": "demo", "fingerprint": self.fingerprint, "results": results, "usage": usage}
        return _json_answer(200, {**body, **changes})


def _json_answer(status: int, body: Any, **headers: str) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json", **headers})


def _error_answer(status: int, code: str, message: str, **headers: str) -> Answer:
    return _json_answer(status, {"error": {"code": code, "message": message}}, **headers)


def _ok(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    return server.reply(results, is_streaming)


def _status(status: int, **headers: str) -> Callable[..., Answer]:
    return lambda *_: _error_answer(status, f"status_{status}", "scripted", **headers)


def _cut(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    whole = server.reply(results, is_streaming).body
    return Answer(200, whole[: len(whole) * 2 // 3], is_cut=True)


def _last_line_lost(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    if not is_streaming:
        return Answer(LOST)
    whole = server.reply(results, is_streaming).body
    return Answer(200, b"".join(whole.splitlines(keepends=True)[:-1]), is_cut=True)


def _cut_quietly(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    return Answer(200, _cut(server, results, is_streaming).body)


def _some_pairs_fail(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    error = {"code": "engine_failure", "message": "scripted", "retryable": True}
    for result in results[::2]:
        if "score" in result:
            del result["score"]
            result["error"] = error
    return server.reply(results, is_streaming)


def _changed(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[..., Answer]:
    def fault(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
        if results:
            change(results)
        return server.reply(results, is_streaming)

    return fault


def _no_fingerprint(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    return server.reply(results, is_streaming, fingerprint=None)


def _other_weights(server: ScriptedServer, results: list[dict[str, Any]], is_streaming: bool) -> Answer:
    server.fingerprint = "sha256:second"
    return server.reply(results, is_streaming)


_FAULTS: dict[str, Callable[..., Answer]] = {
    "ok": _ok,
    "ignore_pin": _ok,
    "lost": lambda *_: Answer(LOST),
    "500": _status(500),
    "502": _status(502),
    "503": _status(503),
    "503_retry_after": _status(503, **{"retry-after": "7"}),
    "504": _status(504),
    "400": _status(400),
    "401": _status(401),
    "413": _status(413),
    "422": _status(422),
    "302": _status(302),
    "cut": _cut,
    "cut_quietly": _cut_quietly,
    "last_line_lost": _last_line_lost,
    "page": lambda *_: Answer(200, b"<html>welcome</html>"),
    "empty": lambda *_: Answer(200, b""),
    "list": lambda *_: Answer(200, b"[]"),
    "nan": _changed(lambda results: results[0].update(score=float("nan"))),
    "text_score": _changed(lambda results: results[0].update(score="1.5")),
    "true_score": _changed(lambda results: results[0].update(score=True)),
    "null_score": _changed(lambda results: results[0].update(score=None, error=None)),
    "both": _changed(lambda results: results[0].update(score=1.0, error={"code": "x"})),
    "missing": _changed(lambda results: results.pop()),
    "doubled": _changed(lambda results: results.append(results[0])),
    "doubled_in_place": _changed(lambda results: results.__setitem__(-1, results[0])),
    "nan_in_details": _changed(lambda results: results[0].update(token_values=[float("nan")])),
    "wrong_index": _changed(lambda results: results[-1].update(index=len(results))),
    "wrong_id": _changed(lambda results: results[0].update(id="somebody else's")),
    "no_fingerprint": _no_fingerprint,
    "some_pairs_fail": _some_pairs_fail,
    "other_weights": _other_weights,
}

PASSING_FAULTS = sorted(set(_FAULTS) - {"ok", "ignore_pin", "400", "401", "413", "422", "302", "other_weights"})
"""Everything after which a client may still end with all scores right."""

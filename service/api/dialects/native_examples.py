"""Worked examples of the native routes, for `/docs`.

A test sends every body to the app and compares the replies' fields with those shown here.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi.openapi.models import Example

from service.api.ndjson import NDJSON_TYPE

Responses = dict[int | str, dict[str, Any]]

_WHO: Final = {"model": "demo", "fingerprint": "sha256:3b0c44…"}
_USAGE: Final = {"tokens": 15, "computed_tokens": 15, "reused_tokens": 0, "deduplicated_pairs": 0}
_TIMINGS: Final = {"tokenize": 0.4, "queue": 0.1, "compute": 6.2}
_RESULT: Final = {
    "index": 0,
    "id": "a",
    "score": 1.8248999118804932,
    "prompt_tokens": 12,
    "response_tokens": 3,
    "truncated_tokens": 0,
    "ended": None,
}
_FAILED: Final = {
    "index": 1,
    "id": None,
    "error": {"code": "empty_prompt", "message": "the prompt holds no text; …", "retryable": False},
}
_READ: Final = {
    "index": 0,
    "id": None,
    "rendered": "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>",
    "ids": [1, 3, 310, 12],
    "cuts": [0, 3],
    "read_positions": [3],
    "probe": None,
    "prompt_tokens": 3,
    "response_tokens": 1,
    "truncated_tokens": 0,
    "ended": None,
}
_MODEL: Final = {
    "id": "demo",
    "object": "model",
    "created": 1790000000,
    "owned_by": "reward-server",
    "fingerprint": "sha256:3b0c44…",
    "max_tokens": 4096,
    "max_model_len": 4096,
    "head": "linear 192 -> 1",
    "readout": "last token",
    "objectives": [],
    "aliases": [],
    "verified": True,
}


def _replies(example: object, **others: object) -> Responses:
    content: dict[str, Any] = {"application/json": {"example": example}}
    content |= {media_type: {"example": text} for media_type, text in others.items()}
    return {200: {"description": "What came of it", "content": content}}


ERROR_REPLIES: Final[Responses] = {
    status: {
        "description": description,
        "content": {"application/json": {"example": {"error": {**error, "retryable": status == "5XX"}}}},
    }
    for status, description, error in (
        ("4XX", "The request is wrong; sending it again will not help", {"code": "invalid_fields", "message": "…"}),
        ("5XX", "Not now; Retry-After says when to try again", {"code": "overloaded", "message": "…"}),
    )
}

SCORE_BODIES: Final[dict[str, Example]] = {
    "text": {"summary": "A prompt and a response", "value": {"pairs": [{"prompt": "What is 2+2?", "response": "4"}]}},
    "messages": {
        "summary": "A conversation, with an id and a deadline",
        "value": {
            "pairs": [{"id": "a", "prompt": [{"role": "user", "content": "Hi"}], "response": "Hello!"}],
            "deadline_ms": 30_000,
            "priority": "bulk",
        },
    },
    "ids": {
        "summary": "Token ids, taken verbatim, explained",
        "value": {"pairs": [{"prompt_ids": [1, 5, 9], "response_ids": [7, 2]}], "explain": True},
    },
    "rendered": {
        "summary": "Text in the model's own template",
        "value": {"pairs": [{"rendered": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>"}]},
    },
}

SCORE_REPLY: Final = _replies(
    {**_WHO, "results": [_RESULT, _FAILED], "usage": _USAGE, "timings_ms": _TIMINGS},
    **{NDJSON_TYPE: '{"index": 0, "id": null, "score": 1.5, …}\n{"model": "demo", "usage": {…}, …}\n'},
)

RANK_BODIES: Final[dict[str, Example]] = {
    "rank": {
        "summary": "Three answers to one question",
        "value": {"prompt": "What is 2+2?", "responses": ["5", "4", "I will not say."], "return_responses": True},
    }
}

RANK_REPLY: Final = _replies(
    {
        **_WHO,
        "results": [
            {"index": 1, "rank": 1, "score": 1.9, "response": "4"},
            {"index": 0, "rank": 2, "score": 1.2, "response": "5"},
        ],
        "best": 1,
        "margin": 0.7,
        "errors": [],
        "usage": _USAGE,
        "timings_ms": _TIMINGS,
    }
)

TOKENIZE_BODIES: Final[dict[str, Example]] = {
    "tokenize": {
        "summary": "The body of /v1/score",
        "value": {"pairs": [{"prompt": "Hi", "response": "Hello!"}], "truncation": "prompt_left"},
    }
}

TOKENIZE_REPLY: Final = _replies({**_WHO, "results": [_READ]})

VERIFY_BODIES: Final[dict[str, Example]] = {"verify": {"summary": "The default model", "value": {"model": "demo"}}}

VERIFY_REPLY: Final = _replies(
    {
        **_WHO,
        "ok": True,
        "checks": [
            {
                "name": "greeting",
                "expected": 1.5,
                "actual": 1.5,
                "difference": 0.0,
                "tolerance": 1e-5,
                "ok": True,
                "error": None,
            }
        ],
    }
)

MODELS_REPLY: Final = _replies({"object": "list", "data": [_MODEL]})

MODEL_REPLY: Final = _replies(_MODEL)

INFO_REPLY: Final = _replies(
    {
        "settings": {"host": "127.0.0.1", "port": 8000, "api_keys": ["***"]},
        "limits": {
            "max_pairs_per_request": 10_000,
            "max_body_bytes": 67_108_864,
            "max_queue_tokens": 67_108_864,
            "max_queue_pairs": 65_536,
            "default_timeout_s": 100.0,
        },
        "models": [
            {
                **_MODEL,
                "ready": True,
                "reason": "",
                "device": "cpu",
                "device_name": "Intel(R) Xeon(R)",
                "numeric_mode": {"dtype": "float32", "torch": "2.13.0"},
                "max_frame_tokens": 2048,
                "frame_sizes": [512, 2048],
                "details": {"license": "apache-2.0"},
            }
        ],
    }
)

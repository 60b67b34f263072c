"""Keys, limits, names: what happens to a request before its route sees it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from service.api.app import create_app
from service.api.error_mapping import native_shape
from service.observability.events import PairFinished, RequestFinished, RequestRefused
from service.observability.logs import JsonFormatter, LogObserver
from service.observability.observers import RecordingObserver
from tests.api.asgi import Connection, settings
from tests.api.conftest import Serve, serving
from tests.fakes import FakeServedModel, building

PAIR = {"prompt": "p", "response": "r"}
KEYS = ["right", "also right", "schlüssel"]
PROBES = ("/infinity/health", "/v2/health/live", "/v2/health/ready")
OPEN = {("GET", "/"), ("HEAD", "/"), *(("GET", path) for path in PROBES)} | {
    (method, path) for method in ("GET", "HEAD") for path in ("/livez", "/readyz", "/health", "/static/{name}")
}


def guarded_app(observer: RecordingObserver | None = None) -> FastAPI:
    return create_app(settings(api_keys=KEYS), building(FakeServedModel()), observers=[observer] if observer else [])


def all_routes() -> Iterator[tuple[str, str]]:
    for route in guarded_app().routes:
        assert isinstance(route, Route)
        for method in sorted(route.methods or ()):
            yield method, route.path


def speaks_native(path: str) -> bool:
    """Whether errors on a path have the native shape; a compatibility route's are its dialect's."""
    shapes = [shape for pattern, shape in guarded_app().state.error_shapes if pattern.match(path)]
    return not shapes or shapes[0] is native_shape


def test_the_table_of_routes_is_the_whole_app() -> None:
    paths = {path for _, path in all_routes()}

    assert {"/v1/score", "/v1/rank", "/metrics", "/docs", "/openapi.json", "/livez", "/", "/static/{name}"} <= paths


@pytest.mark.parametrize("credentials", ["none", "wrong", "right"])
@pytest.mark.parametrize(("method", "path"), list(all_routes()))
async def test_every_route_but_the_open_ones_asks_for_the_key(method: str, path: str, credentials: str) -> None:
    headers = {} if credentials == "none" else {"Authorization": f"Bearer {credentials}"}
    address = path.replace("{name:path}", "demo").replace("{name}", "page.js").replace("{version}", "1")
    async with serving(guarded_app()) as client:
        reply = await client.request(method, address, headers=headers)

    if credentials == "right" or (method, path) in OPEN:
        assert reply.status_code not in (401, 404, 405, 500)
    else:
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            assert "the API key is missing or wrong" in reply.text
            assert not speaks_native(path) or reply.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("query", "header", "status"),
    [
        ("", b"Bearer right", 200),
        ("", b"bearer  right ", 200),
        ("", b"Bearer also right", 200),
        ("", "Bearer schlüssel".encode(), 200),
        ("?key=right", b"", 200),
        ("?a=1&key=also%20right", b"", 200),
        ("?key=schl%C3%BCssel", b"", 200),
        ("?key=right", b"Bearer wrong", 200),
        ("?key=wrong", b"Bearer right", 200),
        ("?key=", b"Bearer ", 401),
        ("?key=Right", b"", 401),
        ("?key=righ", b"", 401),
        ("?key=%FF", b"Bearer \xff", 401),
        ("", b"Basic right", 401),
        ("", b"right", 401),
        ("?KEY=right", b"", 401),
    ],
)
async def test_a_key_may_stand_in_the_header_or_the_query(query: str, header: bytes, status: int) -> None:
    async with serving(guarded_app()) as client:
        reply = await client.get(f"/v1/models{query}", headers=[(b"Authorization", header)] if header else [])

    assert reply.status_code == status


@pytest.mark.parametrize(("key", "status"), [("right", 200), ("wrong", 401)])
@pytest.mark.parametrize("shape", [str.lower, str.upper], ids=["lower", "upper"])
async def test_a_key_may_be_configured_by_its_hash(key: str, status: int, shape: Callable[[str], str]) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    app = create_app(settings(api_keys=[f"sha256:{shape(digest)}", "other"]), building(FakeServedModel()))
    async with serving(app) as client:
        by_header = await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        by_query = await client.get(f"/v1/models?key={key}")
        by_hash = await client.get("/v1/models", headers={"Authorization": f"Bearer sha256:{digest}"})

    assert (by_header.status_code, by_query.status_code) == (status, status)
    assert by_hash.status_code == 401  # whoever reads the configuration does not hold a key


async def test_a_wrong_key_learns_nothing_about_routes() -> None:
    async with serving(guarded_app()) as client:
        known = await client.get("/v1/models?key=wrong")
        unknown = await client.get("/v1/nothing?key=wrong")

    assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())


async def test_posting_to_the_pages_address_needs_the_key() -> None:
    async with serving(guarded_app()) as client:
        assert (await client.post("/", json={})).status_code == 401


async def test_without_keys_nobody_is_asked(serve: Serve) -> None:
    async with serve() as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_a_query_key_reaches_neither_the_app_nor_the_servers_log(observer: RecordingObserver) -> None:
    app = guarded_app(observer)
    connection = Connection(app, "/v1/score?key=right&run=r%201&x=", [b'{"pairs": []}'])
    async with serving(app):
        await connection.run()

    assert connection.status == 200
    assert connection.scope["query_string"] == b"run=r+1&x="
    assert observer.of_type(RequestFinished)[0].run_id == "r 1"
    assert "right" not in repr(observer.events)


async def test_no_log_line_holds_a_key_or_a_text() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(handler)
    app = create_app(settings(api_keys=["s3cret"]), building(FakeServedModel()), observers=[LogObserver(logger)])
    body = {"pairs": [{"prompt": "pr1vate", "response": "pr1vate"}]}
    async with serving(app) as client:
        await client.post("/v1/score?key=s3cret", json=body)
        await client.post("/v1/score?key=s3cret", json={"pairs": [{"prompt": "pr1vate", "pr1vat": 1}]})
        await client.post("/v1/score?key=s3cretX", json=body)
        await client.post("/v1/score", json=body, headers={"Authorization": "Bearer s3cret"})

    assert len(written.getvalue().splitlines()) == 8
    assert "s3cret" not in written.getvalue()
    assert "pr1vate" not in written.getvalue()


async def test_texts_are_logged_where_the_operator_asked_for_it(observer: RecordingObserver) -> None:
    app = create_app(settings(log_text=True), building(FakeServedModel()), observers=[observer])
    async with serving(app) as client:
        await client.post("/v1/score", json={"pairs": [PAIR]})

    assert [getattr(event, "rendered", None) for event in observer.events] == ["user: p\nr", None]


def body_of(num_bytes: int) -> bytes:
    start, end = b'{"pairs": [], "model": null', b"}"
    return start + b" " * (num_bytes - len(start) - len(end)) + end


@pytest.mark.parametrize(("num_bytes", "status"), [(1023, 200), (1024, 200), (1025, 413)])
async def test_a_body_over_the_limit_is_413_with_the_limit(serve: Serve, num_bytes: int, status: int) -> None:
    async with serve(max_body_bytes=1024) as client:
        reply = await client.post("/v1/score", content=body_of(num_bytes))

    assert reply.status_code == status
    if status == 413:
        assert reply.json()["error"]["code"] == "too_large"
        assert "1025 bytes; allowed: 1024 bytes" in reply.json()["error"]["message"]


async def test_a_body_in_pieces_is_refused_as_soon_as_too_much_has_arrived(observer: RecordingObserver) -> None:
    app = create_app(settings(max_body_bytes=1024), building(FakeServedModel()), observers=[observer])
    pieces = [b"x" * 512] * 10
    connection = Connection(app, "/v1/score", pieces)
    async with serving(app):
        await connection.run()

    assert connection.status == 413
    assert connection.num_chunks_read == 3
    assert b"more than 1024 bytes; allowed: 1024 bytes" in connection.body


async def test_a_body_in_pieces_under_the_limit_is_read_whole() -> None:
    app = create_app(settings(max_body_bytes=1024), building(FakeServedModel()))
    whole = body_of(1024)
    connection = Connection(app, "/v1/score", [whole[:100], whole[100:]])
    async with serving(app):
        await connection.run()

    assert connection.status == 200


async def test_a_length_that_lies_does_not_get_past_the_limit() -> None:
    app = create_app(settings(max_body_bytes=1024), building(FakeServedModel()))
    connection = Connection(app, "/v1/score", [b"x" * 2000], {"Content-Length": "5"})
    async with serving(app):
        await connection.run()

    assert connection.status == 413


async def test_half_a_body_is_refused_after_the_servers_bound(observer: RecordingObserver) -> None:
    app = create_app(settings(default_timeout_s=0.05), building(FakeServedModel()), observers=[observer])
    connection = HalfSent(app, "/v1/score", [b'{"pairs": ['])
    async with serving(app):
        await connection.run()

    assert connection.status == 408
    assert json.loads(connection.body)["error"]["code"] == "slow_body"
    assert (b"connection", b"close") in connection.sent[0]["headers"]


class HalfSent(Connection):
    """Promises more of the body and never sends it."""

    async def _receive(self) -> dict[str, object]:
        message = await super()._receive()
        return {**message, "more_body": True}


@pytest.mark.parametrize("given", ["abc-123", "trace:0af7/651.9_16@host+1="])
async def test_the_callers_own_id_comes_back(serve: Serve, given: str) -> None:
    async with serve() as client:
        reply = await client.get("/livez", headers={"X-Request-Id": given})

    assert reply.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, 'quote"'])
async def test_an_id_that_is_not_sane_is_replaced(serve: Serve, given: str) -> None:
    async with serve() as client:
        reply = await client.get("/livez", headers={"X-Request-Id": given})

    assert uuid.UUID(reply.headers["X-Request-Id"]).version == 4


async def test_each_reply_has_an_id_of_its_own(serve: Serve) -> None:
    async with serve(max_body_bytes=1024) as client:
        replies = [
            await client.get("/livez"),
            await client.get("/nothing"),
            await client.put("/v1/score"),
            await client.post("/v1/score", content=b"{"),
            await client.post("/v1/score", content=b" " * 2000),
            await client.post("/v1/score", json={"pairs": [PAIR]}, headers={"Accept": "application/x-ndjson"}),
        ]

    assert [reply.status_code for reply in replies] == [200, 404, 405, 400, 413, 200]
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == len(replies)


async def test_a_request_is_reported_with_its_route_and_never_with_its_path(
    serve: Serve, observer: RecordingObserver
) -> None:
    async with serve() as client:
        await client.get("/v1/models/demo", headers={"X-Request-Id": "one", "X-Run-Id": "r\tun" + "x" * 200})
        await client.get("/private/path")

    first, second = observer.of_type(RequestFinished)
    assert (first.request_id, first.method, first.route, first.status) == ("one", "GET", "/v1/models/{name:path}", 200)
    assert first.run_id == ("run" + "x" * 200)[:128]
    assert (second.route, second.status) == ("other", 404)
    assert [(event.route, event.code) for event in observer.of_type(RequestRefused)] == [("other", "not_found")]


async def test_a_request_refused_before_routing_counts_for_its_route(observer: RecordingObserver) -> None:
    async with serving(guarded_app(observer)) as client:
        await client.get("/v1/models/demo")
        await client.get("/nothing")

    refused = [(event.route, event.code) for event in observer.of_type(RequestRefused)]
    assert refused == [("/v1/models/{name:path}", "unauthorized"), ("other", "unauthorized")]
    assert [event.route for event in observer.of_type(RequestFinished)] == [route for route, _ in refused]


class ExplodingModel(FakeServedModel):
    """Raises what nobody foresaw."""

    async def submit(self, *args: object) -> object:  # type: ignore[override]
        raise KeyError("secret of the inside")


async def test_an_unexpected_error_is_500_without_a_word_of_the_inside(
    serve: Serve, observer: RecordingObserver, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(ExplodingModel()) as client:
        reply = await client.post("/v1/score", json={"pairs": [PAIR]}, headers={"X-Request-Id": "boom-1"})

    assert reply.status_code == 500
    assert reply.headers["X-Request-Id"] == "boom-1"
    assert sorted(reply.json()["error"]) == ["code", "message", "retryable"]
    assert reply.json()["error"]["code"] == "internal"
    assert "secret" not in reply.text
    assert "request boom-1 failed" in caplog.text
    assert "secret of the inside" in caplog.text
    assert observer.of_type(RequestFinished)[0].status == 500


async def test_replies_are_json_all_the_way(serve: Serve) -> None:
    async with serve() as client:
        replies: list[httpx.Response] = [await client.get("/nothing"), await client.delete("/v1/score")]

    for reply in replies:
        assert reply.headers["Content-Type"] == "application/json"
        assert json.loads(reply.text)["error"]["retryable"] is False
    assert replies[1].headers["Allow"] == "POST"


async def test_pairs_are_counted_once_their_piece_of_the_reply_is_sent(observer: RecordingObserver) -> None:
    app = create_app(settings(), building(FakeServedModel()), observers=[observer])
    seen: list[tuple[str, int]] = []
    async with serving(app):
        for headers in ({}, {"Accept": "application/x-ndjson"}):
            observer.events.clear()
            connection = Connection(app, "/v1/score", [json.dumps({"pairs": [PAIR] * 3}).encode()], headers)
            send = connection._send

            async def noting(message: Any, send: Any = send) -> None:
                seen.append((message["type"], len(observer.of_type(PairFinished))))
                await send(message)

            connection._send = noting  # type: ignore[method-assign]
            await connection.run()
            assert len(observer.of_type(PairFinished)) == 3
            assert len(observer.of_type(RequestFinished)) == 1

    start, body = "http.response.start", "http.response.body"
    assert seen == [(start, 0), (body, 0), (start, 0), (body, 0), (body, 1), (body, 2), (body, 3), (body, 3)]

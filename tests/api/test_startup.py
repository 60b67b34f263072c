"""The socket is open at once; the models come later, or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from service.api.app import create_app
from service.api.runtime import BuildRuntime, Progress, Runtime
from service.observability.observers import Observer
from service.settings import Settings
from tests.api.asgi import settings, settle
from tests.api.conftest import client_of, serving
from tests.fakes import FakeServedModel, building

PROBES = ["/readyz", "/health"]


@asynccontextmanager
async def starting(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), client_of(app) as client:
        await settle()
        yield client


async def test_while_models_load_the_server_lives_and_says_why_it_is_not_ready() -> None:
    app = create_app(settings(), building(FakeServedModel(), gate=asyncio.Event()))
    async with starting(app) as client:
        alive = await client.get("/livez")
        probes = [await client.get(path) for path in PROBES]
        scored = await client.post("/v1/score", json={"pairs": []})
        listed = await client.get("/v1/models")
        counted = await client.get("/metrics")
        page = await client.get("/")

    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    for reply in probes:
        assert reply.status_code == 503
        assert reply.json() == {"status": "not_ready", "reason": "starting: loading weights"}
        assert int(reply.headers["Retry-After"]) > 0
    for reply in (scored, listed):
        assert reply.status_code == 503
        assert int(reply.headers["Retry-After"]) > 0
        assert reply.json()["error"] == {
            "code": "not_ready",
            "message": "starting: loading weights",
            "retryable": True,
        }
    assert (counted.status_code, page.status_code) == (200, 200)


async def test_requests_may_wait_for_models_that_are_being_loaded_and_probes_do_not() -> None:
    gate = asyncio.Event()
    app = create_app(settings(), building(FakeServedModel(), gate=gate), startup_wait_s=60.0)
    body = {"pairs": [{"prompt": "p", "response": "r"}]}
    async with starting(app) as client:
        waiting = [asyncio.create_task(client.post("/v1/score", json=body)) for _ in range(3)]
        probe = await client.get("/readyz")
        await settle()
        assert not any(call.done() for call in waiting)
        gate.set()
        replies = await asyncio.gather(*waiting)

    assert probe.status_code == 503
    assert [reply.status_code for reply in replies] == [200] * 3


async def test_a_wait_for_models_ends_in_the_reason_why_there_are_none() -> None:
    app = create_app(settings(), building(FakeServedModel(), gate=asyncio.Event()), startup_wait_s=0.01)
    async with starting(app) as client:
        reply = await client.post("/v1/score", json={"pairs": []})

    assert reply.status_code == 503
    assert reply.json()["error"]["message"] == "starting: loading weights"


async def test_a_draining_server_refuses_new_work_and_cancels_the_rest_at_the_end_of_its_grace() -> None:
    model = FakeServedModel(holds={0: asyncio.Event()})
    app = create_app(settings(), building(model))
    body = {"pairs": [{"prompt": "p", "response": "r"}]}
    async with serving(app) as client:
        admitted = asyncio.create_task(client.post("/v1/score", json=body))
        while not model.submitted:
            await asyncio.sleep(0)
        draining = asyncio.create_task(app.state.startup.drain(0.05))
        await asyncio.sleep(0)
        late, ready = await client.post("/v1/score", json=body), await client.get("/readyz")
        await draining
        reply = await admitted

    assert (late.status_code, ready.json()["reason"]) == (503, "shutting down")
    assert reply.json()["results"][0]["error"]["code"] == "cancelled"
    assert model.num_cancelled == 1


@pytest.mark.parametrize("path", PROBES)
async def test_a_loaded_server_is_ready(path: str) -> None:
    async with serving(create_app(settings(), building(FakeServedModel()))) as client:
        reply = await client.get(path)

    assert (reply.status_code, reply.json()) == (200, {"status": "ready", "reason": ""})


async def test_readiness_follows_the_models() -> None:
    sound, broken = FakeServedModel(), FakeServedModel()
    async with serving(create_app(settings(models=["a"]), building(sound))) as client:
        sound.not_ready_because = "the engine thread is not running"
        lost = await client.get("/readyz")
        sound.not_ready_because = ""
        found = await client.get("/readyz")

    assert (lost.status_code, lost.json()["reason"]) == (503, "demo: the engine thread is not running")
    assert found.status_code == 200
    assert broken.health().is_ready


async def test_the_runtime_is_built_once_and_closed_at_the_end() -> None:
    log: list[str] = []
    async with serving(create_app(settings(), building(FakeServedModel(), log=log))) as client:
        await client.get("/livez")
        assert log == ["built"]

    assert log == ["built", "closed"]


async def test_stopping_while_models_load_stops_loading() -> None:
    log: list[str] = []
    async with starting(create_app(settings(), building(FakeServedModel(), gate=asyncio.Event(), log=log))):
        assert log == []

    assert log == ["closed"]


def failing(error: Exception) -> BuildRuntime:
    @asynccontextmanager
    async def build(settings: Settings, observer: Observer, progress: Progress) -> AsyncIterator[Runtime]:
        progress("loading weights")
        raise error
        yield Runtime({}, settings)

    return build


async def test_a_start_up_that_fails_is_told_to_the_process_and_to_probes(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = []
    error = RuntimeError("score.weight is missing")
    app = create_app(settings(), failing(error), on_startup_failure=failures.append)
    async with starting(app) as client:
        alive = await client.get("/livez")
        ready = await client.get("/readyz")
        scored = await client.post("/v1/score", json={"pairs": []})

    assert failures == [error]
    assert alive.status_code == 200
    assert ready.json()["reason"] == "start-up failed: score.weight is missing"
    assert scored.json()["error"]["message"] == "start-up failed: score.weight is missing"
    assert "start-up failed" in caplog.text


async def test_a_failure_while_closing_is_logged_and_is_no_start_up_failure(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = []

    @asynccontextmanager
    async def build(settings: Settings, observer: Observer, progress: Progress) -> AsyncIterator[Runtime]:
        model = FakeServedModel()
        yield Runtime({model.card.model_id: model}, settings)
        raise RuntimeError("engine would not stop")

    async with serving(create_app(settings(), build, on_startup_failure=failures.append)) as client:
        await client.get("/livez")

    assert failures == []
    assert "engine would not stop" in caplog.text


async def test_handlers_see_the_settings_that_start_up_resolved() -> None:
    @asynccontextmanager
    async def build(given: Settings, observer: Observer, progress: Progress) -> AsyncIterator[Runtime]:
        model = FakeServedModel()
        yield Runtime({model.card.model_id: model}, given.model_copy(update={"device": "cpu"}))

    async with serving(create_app(settings(), build)) as client:
        assert (await client.get("/v1/info")).json()["settings"]["device"] == "cpu"


def test_the_edge_loads_without_torch() -> None:
    code = "import sys, service.api.app; print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


async def test_two_apps_in_one_process_do_not_meet() -> None:
    first = create_app(settings(), building(FakeServedModel()))
    second = create_app(settings(), building(FakeServedModel()))
    async with serving(first) as client, serving(second) as other:
        await client.get("/v1/models")
        counted = [(await each.get("/metrics")).text for each in (client, other)]

    line = 'reward_server_requests_total{route="/v1/models",status="200"} 1.0'
    assert [line in text for text in counted] == [True, False]

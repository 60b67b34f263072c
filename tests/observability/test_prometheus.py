"""The text of /metrics: names, labels, and sums that agree with what callers saw."""

from __future__ import annotations

import httpx
import pytest

from service.api.app import create_app
from service.errors import TooLong
from service.observability.events import FrameRun, PairFinished, QueueOpened, RequestFinished, RequestRefused
from service.observability.prometheus import PrometheusObserver
from service.types import ModelId, Timings
from tests.api.asgi import settings
from tests.api.conftest import serving
from tests.fakes import FakeServedModel, building

DEMO = ModelId("demo")


def lines_of(observer: PrometheusObserver) -> set[str]:
    text = observer.exposition().decode()
    return {line for line in text.splitlines() if not line.startswith("#") and "_created" not in line}


def test_a_scored_pair_is_counted_everywhere_it_should_be() -> None:
    observer = PrometheusObserver()
    timings = Timings(tokenize_s=0.002, queue_s=0.02, compute_s=0.2)
    observer.notify(PairFinished(DEMO, "native", "", "score", 1.5, 9, 3, 2, 10, 2, is_duplicate=True, timings=timings))

    assert {
        'reward_server_pairs_total{model="demo",outcome="score"} 1.0',
        'reward_server_tokens_total{kind="computed",model="demo"} 10.0',
        'reward_server_tokens_total{kind="reused",model="demo"} 2.0',
        'reward_server_truncated_tokens_total{model="demo"} 2.0',
        'reward_server_duplicate_pairs_total{model="demo"} 1.0',
        'reward_server_score_count{model="demo"} 1.0',
        'reward_server_score_bucket{le="1.0",model="demo"} 0.0',
        'reward_server_score_bucket{le="2.0",model="demo"} 1.0',
        'reward_server_tokenize_seconds_sum{model="demo"} 0.002',
        'reward_server_queue_seconds_sum{model="demo"} 0.02',
        'reward_server_compute_seconds_sum{model="demo"} 0.2',
    } <= lines_of(observer)


def test_a_failed_pair_is_counted_by_its_code_and_has_no_score() -> None:
    observer = PrometheusObserver()
    observer.notify(PairFinished(DEMO, "native", "", "too_long"))

    lines = lines_of(observer)
    assert 'reward_server_pairs_total{model="demo",outcome="too_long"} 1.0' in lines
    assert not any(line.startswith("reward_server_score_count") for line in lines)


def test_a_frame_tells_fill_and_padding() -> None:
    observer = PrometheusObserver()
    observer.notify(FrameRun(DEMO, num_pairs=3, num_tokens=384, num_rows=512, duration_s=0.5))

    assert {
        'reward_server_frames_total{model="demo",outcome="ok"} 1.0',
        'reward_server_frame_pairs_total{model="demo"} 3.0',
        'reward_server_tokens_total{kind="padding",model="demo"} 128.0',
        'reward_server_frame_fill_ratio_sum{model="demo"} 0.75',
        'reward_server_frame_seconds_sum{model="demo"} 0.5',
    } <= lines_of(observer)


def test_a_frame_that_gave_no_rewards_counts_as_a_frame_and_as_nothing_else() -> None:
    observer = PrometheusObserver()
    observer.notify(FrameRun(DEMO, num_pairs=3, num_tokens=384, num_rows=512, duration_s=0.5, outcome="prefix_lost"))

    lines = lines_of(observer)
    assert 'reward_server_frames_total{model="demo",outcome="prefix_lost"} 1.0' in lines
    assert not any(line.startswith(("reward_server_frame_pairs_total", "reward_server_tokens_total")) for line in lines)


def test_requests_and_refusals_are_counted_by_route() -> None:
    observer = PrometheusObserver()
    observer.notify(RequestFinished("id", "run", "POST", "/v1/score", 503, 0.25))
    observer.notify(RequestRefused("id", "run", "/v1/score", 503, "overloaded", "full"))

    lines = lines_of(observer)
    assert {
        'reward_server_requests_total{route="/v1/score",status="503"} 1.0',
        'reward_server_request_seconds_sum{route="/v1/score"} 0.25',
        'reward_server_refusals_total{code="overloaded",route="/v1/score"} 1.0',
    } <= lines
    assert not any("run" in line for line in lines)


def test_the_queue_is_asked_when_the_metrics_are() -> None:
    observer, depth = PrometheusObserver(), [4, 1000]
    observer.notify(QueueOpened(DEMO, lambda: depth[0], lambda: depth[1], lambda: 3, lambda: 70, lambda: 8))
    before = lines_of(observer)
    depth[:] = [0, 0]
    after = lines_of(observer)

    assert 'reward_server_queue_pairs{model="demo"} 4.0' in before
    assert 'reward_server_queue_tokens{model="demo"} 1000.0' in before
    assert 'reward_server_queue_pairs{model="demo"} 0.0' in after
    assert 'reward_server_parked_requests{model="demo"} 3.0' in before
    assert 'reward_server_prefix_cache_tokens{model="demo"} 70.0' in before
    assert 'reward_server_prefix_cache_evicted_tokens{model="demo"} 8.0' in before


def test_every_name_starts_with_the_servers() -> None:
    text = PrometheusObserver().exposition().decode()

    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) > 12
    assert all(name.startswith("reward_server_") for name in names)


@pytest.mark.parametrize("path", ["/metrics"])
async def test_the_counters_add_up_to_what_the_client_saw(path: str) -> None:
    model = FakeServedModel(errors={1: TooLong("too long")})
    pairs = [{"prompt": "p", "response": "r" * size} for size in range(3)]
    async with serving(create_app(settings(), building(model))) as client:
        replies = [(await client.post("/v1/score", json={"pairs": pairs})).json() for _ in range(2)]
        text = (await client.get(path)).text

    computed = sum(reply["usage"]["computed_tokens"] for reply in replies)
    assert 'reward_server_pairs_total{model="demo",outcome="score"} 4.0' in text
    assert 'reward_server_pairs_total{model="demo",outcome="too_long"} 2.0' in text
    assert f'reward_server_tokens_total{{kind="computed",model="demo"}} {float(computed)}' in text
    assert 'reward_server_requests_total{route="/v1/score",status="200"} 2.0' in text


async def test_metrics_come_in_prometheus_text_format() -> None:
    async with serving(create_app(settings(), building(FakeServedModel()))) as client:
        reply: httpx.Response = await client.get("/metrics")

    assert reply.headers["Content-Type"] == PrometheusObserver.content_type
    assert reply.headers["Content-Type"].startswith("text/plain; version=")

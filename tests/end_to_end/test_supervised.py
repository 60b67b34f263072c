"""A real server under its parent: killed, told to stop, hung; nobody gets a wrong number and no address goes dead."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.process import ROOT, environment, run_command, running

pytestmark = pytest.mark.long

PAIRS = [{"prompt": f"What is {n} + {n}?", "response": str(2 * n)} for n in range(40)]


def worker_of(parent: int) -> int:
    """The process id of a supervisor's one child; 0 while there is none."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            return int(status.parent.name)
    return 0


async def score_until_answered(client, pair):
    """What every trainer does: tries again whatever is not 200. Returns the score and the number of failures."""
    for failures in range(200):
        try:
            reply = await client.post("/v1/score", json={"pairs": [pair]})
            if reply.status_code == 200 and "score" in reply.json()["results"][0]:
                return reply.json()["results"][0]["score"], failures
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError("never answered")


async def test_a_killed_worker_comes_back_and_every_retry_gets_the_calm_score(llama_checkpoint, tmp_path):
    with running(tmp_path / "log", llama_checkpoint) as server:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            calm = [(await score_until_answered(client, pair))[0] for pair in PAIRS]
            first = worker_of(server.process.pid)
            calls = [asyncio.create_task(score_until_answered(client, pair)) for pair in PAIRS * 4]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            os.kill(first, signal.SIGKILL)
            stormy = await asyncio.gather(*calls)
        second = worker_of(server.process.pid)
        os.kill(second, signal.SIGKILL)
        in_between = await asyncio.to_thread(server.get, "/livez")  # waits in the backlog for the third worker

        assert [score for score, _ in stormy] == calm * 4
        assert any(failures for _, failures in stormy)
        assert second not in (0, first)
        assert in_between == (200, {"status": "alive"})
        assert server.log.read_text().count("the worker was killed by SIGKILL") == 2
        assert await asyncio.to_thread(server.stop) == 0


async def lines_of_a_told_server(server, pairs):
    """All result lines of a job whose server is told to stop when the first of them has come."""
    lines = []
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        headers = {"Accept": "application/x-ndjson"}
        async with client.stream("POST", "/v1/score", json={"pairs": pairs}, headers=headers) as reply:
            async for line in reply.aiter_lines():
                if not lines:
                    os.kill(server.process.pid, signal.SIGTERM)
                lines.append(json.loads(line))
    return {line["index"]: line for line in lines if "index" in line}


async def test_a_told_server_answers_what_it_has_admitted_and_takes_no_more(llama_checkpoint, tmp_path):
    with running(tmp_path / "log", llama_checkpoint) as server:
        pairs = [{"prompt": str(n), "response": "x " * 50} for n in range(300)]
        results = await lines_of_a_told_server(server, pairs)

        assert sorted(results) == list(range(300))
        assert all("score" in result for result in results.values())
        assert await asyncio.to_thread(server.process.wait, 60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url + "/livez")


async def test_what_the_grace_time_does_not_suffice_for_is_cancelled_and_said_so(llama_checkpoint, tmp_path):
    with running(tmp_path / "log", llama_checkpoint, "--shutdown-grace-s", "0", "--no-supervise") as server:
        assert worker_of(server.process.pid) == 0
        pairs = [{"prompt": f"{n}", "response": "x " * 400} for n in range(1000)]
        results = await lines_of_a_told_server(server, pairs)

        assert sorted(results) == list(range(1000))
        assert {result["error"]["code"] for result in results.values() if "error" in result} == {"cancelled"}
        assert all(("score" in result) != ("error" in result) for result in results.values())
        assert await asyncio.to_thread(server.process.wait, 60) == 0


def test_a_worker_whose_parent_is_killed_does_not_stay_behind(llama_checkpoint, tmp_path):
    with running(tmp_path / "log", llama_checkpoint) as server:
        worker = worker_of(server.process.pid)
        server.stop(signal.SIGKILL)
        end_s = time.monotonic() + 60
        while Path(f"/proc/{worker}").exists() and time.monotonic() < end_s:
            time.sleep(0.05)

        assert not Path(f"/proc/{worker}").exists()


def test_a_model_that_cannot_be_served_is_not_tried_again(tmp_path):
    ended = run_command("serve", "no-such-model", "--port", "0")

    assert ended.returncode == 1
    assert ended.stderr.count("cannot serve") == 1


def test_a_server_told_to_stop_while_it_loads_ends_with_0(llama_checkpoint):
    words = [
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "serve",
        str(llama_checkpoint),
        "--port",
        "0",
    ]
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    while "loading" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: HTTPS is not tested here")
    return folder


def test_a_certificate_makes_it_https_and_only_https(llama_checkpoint, tmp_path, certificate):
    options = ("--tls-certfile", certificate / "cert.pem", "--tls-keyfile", certificate / "key.pem")
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    with running(tmp_path / "log", llama_checkpoint, *options, tls=trusting) as server:
        body = json.dumps({"pairs": PAIRS[:1]}).encode()
        request = urllib.request.Request(f"{server.url}/v1/score", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, context=trusting, timeout=60) as reply:
            results = json.load(reply)["results"]

        variables = {"REWARD_SERVER_PORT": str(server.port), "REWARD_SERVER_TLS_CERTFILE": "cert.pem"}
        check = [sys.executable, str(ROOT / "deploy/healthcheck.py")]
        assert subprocess.run(check, env={**environment(), **variables}, check=False, timeout=60).returncode == 0
        assert "score" in results[0]
        assert server.url.startswith("https://")
        with pytest.raises(OSError, match="certificate"):
            urllib.request.urlopen(f"{server.url}/livez", timeout=10)
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/livez")


def test_a_certificate_that_is_none_ends_the_start_with_a_sentence(tmp_path):
    (tmp_path / "cert.pem").write_text("not a certificate")
    ended = run_command("serve", "--port", "0", "--tls-certfile", tmp_path / "cert.pem")

    assert ended.returncode == 2
    assert "tls_certfile" in ended.stderr
    assert "Traceback" not in ended.stderr

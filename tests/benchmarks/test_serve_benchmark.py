"""The HTTP benchmark runs against a real server and counts what the server counts."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks.light_http import Connection, Refused
from benchmarks.serve import main
from benchmarks.serve_bodies import bodies, conversations, pairs_of
from tests.end_to_end.process import running


@pytest.mark.long
def test_a_small_run_reports_every_part(tmp_path, capsys):
    with running(tmp_path / "log", "demo") as server:
        main(["--url", server.url, "--pairs", "16", "--repeats", "1", "--burst", "8", "--clients", "4"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["model"] == "demo"
    assert report["workloads"]["chat"]["32 a call"]["computed_share"] == 1.0
    assert report["workloads"]["rerank"]["32 a call"]["computed_share"] < 0.25
    assert {"call_ms", "compute_ms", "around_it_ms", "around_it_p95_ms", "livez_ms"} == set(report["idle"])
    assert report["idle"]["call_ms"] > report["idle"]["compute_ms"] > 0
    assert report["idle"]["livez_ms"] > 0
    assert report["burst"]["requests"] == 8
    assert report["burst"]["throughput_ratio"] > 0


def test_words_differ_from_seed_to_seed_and_lengths_do_not():
    first, second = (pairs_of("rlhf-group", 16, seed) for seed in (1, 2))

    assert [lengths(pair) for pair in first] == [lengths(pair) for pair in second]
    assert not {pair["prompt"] for pair in first} & {pair["prompt"] for pair in second}
    assert len({pair["prompt"] for pair in first}) == 2


def lengths(pair):
    return len(pair["prompt"].split()), len(pair["response"].split())


def test_bodies_hold_so_many_pairs_each():
    calls = [json.loads(body)["pairs"] for body in bodies(pairs_of("chat", 40, 0), 32)]

    assert [len(call) for call in calls] == [32, 8]


def test_real_conversations_are_new_for_every_seed(tmp_path):
    path = tmp_path / "rows.jsonl"
    answers = [{"answer": f"answer {rank}", "rank": rank} for rank in (1, 2, 3)]
    path.write_text(json.dumps({"prompt": "\n\nHuman: hello\n\nAssistant: ", "answers": answers}) + "\n")

    assert conversations(path, 2, seed=7) == [
        {"prompt": [{"role": "user", "content": "7 hello"}], "response": f"answer {rank}"} for rank in (1, 2)
    ]


async def answer(reply: bytes, method: str = "POST"):
    """What the light client makes of a server's raw reply."""

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head + await reader.readexactly(2 if method == "POST" else 0))
        writer.write(reply)
        writer.close()

    seen: list[bytes] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        connection = await Connection.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            got = await (connection.post("/path", b"{}") if method == "POST" else connection.get("/path"))
        finally:
            connection.close()
    assert seen[0].startswith(f"{method} /path HTTP/1.1\r\n".encode())
    return got


async def test_the_light_client_reads_whole_replies_of_either_kind():
    assert await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole") == b"whole"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n4\r\n, 2]\r\n0\r\n\r\n"
    assert await answer(chunked) == b"[1, 2]"
    assert await answer(chunked, "GET") == [1, 2]


async def test_the_light_client_counts_no_refusal_as_a_reply():
    with pytest.raises(Refused, match="503"):
        await answer(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
    with pytest.raises(asyncio.IncompleteReadError):
        await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut short")

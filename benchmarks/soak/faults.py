"""Injected faults, each against a real server: `python -m benchmarks.soak.faults`.

Each must end in its documented error for exactly the pairs concerned, and leave scores, memory and descriptors as they
were. Prints a line for each and ends in one JSON line; exit status 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks.soak.burst import texts
from benchmarks.soak.faulty import trigger_ids
from benchmarks.soak.http import Broken, parsed, request_bytes
from benchmarks.soak.server import Server, serving

TIMEOUT_S: Final = 6.0
"""The server's bound on a request here, so that half bodies and dead readers need not be waited for long."""

FORWARD_S: Final = 4.0

QUEUE: Final = ("reward_server_queue_pairs", "reward_server_queue_tokens")

BYSTANDERS: Final = [{"prompt": prompt, "response": response} for prompt, response in texts(8, 3)]


class Otherwise(Exception):
    """Something was not as documented."""


def expect(is_so: bool, words: object) -> None:
    """Raises Otherwise if what should be so is not."""
    if not is_so:
        raise Otherwise(words)


async def scores(server: Server) -> list[float]:
    """The scores of the pairs that no fault concerns; tries again for a minute, as every client does."""
    for _ in range(60):
        try:
            reply = await server.ask("POST", "/v1/score", {"pairs": BYSTANDERS})
        except Broken:  # the last moment of a worker
            continue
        if reply.status == 200:
            return [result["score"] for result in reply.json()["results"]]
        expect(reply.status == 503, f"status {reply.status}: {reply.body[:300]!r}")
        await asyncio.sleep(1)
    raise Otherwise("no scores within a minute")


def bad_pair(fault: str) -> dict[str, object]:
    """A pair that makes its frame fail."""
    return {"prompt_ids": trigger_ids(fault), "response_ids": [7]}


async def codes(server: Server, pairs: list[Any]) -> Counter[str]:
    """What became of pairs of one request: `score`, or an error code; `not_ready` once if it was refused with that."""
    reply = await server.ask("POST", "/v1/score", {"pairs": pairs})
    if reply.status == 503 and reply.json()["error"]["code"] == "not_ready":
        return Counter(["not_ready"])
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:300]!r}")
    results = reply.json()["results"]
    expect(all(("score" in result) != ("error" in result) for result in results), "neither or both of score and error")
    return Counter(result["error"]["code"] if "error" in result else "score" for result in results)


async def too_large_together(server: Server) -> dict[str, Any]:
    """A frame the memory does not hold is computed in halves."""
    pair = bad_pair("too_large")
    got = await codes(server, [pair, {**pair, "response_ids": [8]}])
    expect(got == {"score": 2}, got)
    return dict(got)


async def one_pair_fails(server: Server, fault: str, code: str) -> dict[str, Any]:
    """A lone pair's frame fails; its error is its own, and others asked at the same time have scores."""
    before = await scores(server)
    alone, beside = await asyncio.gather(codes(server, [bad_pair(fault)]), scores_or_codes(server))
    expect(alone == {code: 1}, alone)
    expect(set(beside) <= {"score", code}, beside)
    expect(await scores(server) == before, "other scores afterwards")
    return {"pair": code, "others at the same time": dict(beside)}


async def scores_or_codes(server: Server) -> Counter[str]:
    """What became of the bystanders."""
    return await codes(server, list(BYSTANDERS))


async def worker_is_lost(server: Server, fault: str) -> dict[str, Any]:
    """The engine hangs or its thread dies: everyone is answered with an error, and another worker takes over."""
    before, worker = await scores(server), server.worker
    began = time.monotonic()
    alone, beside = await asyncio.gather(codes(server, [bad_pair(fault)]), codes(server, BYSTANDERS[:4]))
    answered_s = time.monotonic() - began
    expect(alone == {"engine_failure": 1}, alone)
    expect(set(beside) <= {"score", "engine_failure", "not_ready"}, beside)
    expect(await scores(server) == before, "other scores after the restart")
    expect(server.worker != worker, "the worker was not replaced")
    return {"answered_s": round(answered_s, 1), "scoring_again_s": round(time.monotonic() - began, 1)}


async def callers_leave(server: Server, number: int) -> dict[str, Any]:
    """Connections that are closed as soon as their request is sent."""

    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps({"pairs": [{"prompt": "a b c", "response": f"{id(writer)}"}]}).encode()
        writer.write(request_bytes("POST", "/v1/score", body))
        await writer.drain()
        writer.close()

    return await _then_as_before(server, lambda: _many(leave, number))


async def half_bodies(server: Server, number: int) -> dict[str, Any]:
    """Half is closed by the caller, half is held open until the server refuses it with 408."""
    statuses = Counter[str]()

    async def send_half(is_held: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        whole = request_bytes("POST", "/v1/score", b'{"pairs": []}' + b" " * 2000)
        writer.write(whole[: len(whole) // 2])
        await writer.drain()
        if is_held:
            received = await asyncio.wait_for(reader.read(-1), 10 * TIMEOUT_S)
            statuses[received.split(b" ")[1].decode()] += 1
        writer.close()

    async def both() -> None:
        await asyncio.gather(send_half(True), send_half(False))

    seen = await _then_as_before(server, lambda: _many(both, number // 2))
    expect(statuses == {"408": number // 2}, statuses)
    return seen


async def dead_readers(server: Server, number: int) -> dict[str, Any]:
    """Callers who ask for much and never read; the kernel drops them, and their pairs' room comes back."""
    writers = []

    async def ask_and_sleep() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # so that asyncio does not read either
        pairs = [{"prompt": "a " * 400, "response": f"{n} " * 100} for n in range(100)]
        body = json.dumps({"pairs": pairs, "explain": True}).encode()
        writer.write(request_bytes("POST", "/v1/score", body, ("Accept: application/x-ndjson",)))
        await writer.drain()
        writers.append(writer)

    async def all_of_them() -> None:
        await _many(ask_and_sleep, number)
        await _until(lambda: _no_queue(server), 60 * TIMEOUT_S)
        await asyncio.sleep(3 * TIMEOUT_S)

    seen = await _then_as_before(server, all_of_them)
    for writer in writers:
        writer.transport.abort()
    return seen


async def slow_readers(server: Server, number: int) -> dict[str, Any]:
    """Callers with small windows who read a large stream bit by bit: each gets every outcome once, and whole."""
    pairs = [{"prompt": "a " * 60, "response": f"{n} " * 30} for n in range(100)]
    whole = request_bytes(
        *("POST", "/v1/score", json.dumps({"pairs": pairs, "explain": True, "deadline_ms": 90_000}).encode()),
        headers=("Accept: application/x-ndjson",),
    )
    calm: dict[int, float] = {}
    for line in await server.ask_lines("/v1/score", {"pairs": pairs, "deadline_ms": 90_000}):
        if "score" in line:
            calm[line["index"]] = line["score"]
    seen = Counter[str]()

    async def read_slowly() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
            writer.write(whole)
            received = b""
            while part := await reader.read(32 * 1024):
                received += part
                await asyncio.sleep(0.05)
            writer.close()
        lines = [json.loads(line) for line in parsed(received).body.splitlines()]
        results = [line for line in lines if "index" in line]
        expect(sorted(line["index"] for line in results) == list(range(len(pairs))), "an outcome is missing or twice")
        expect("usage" in lines[-1], "the stream has no end")
        for line in results:
            is_other = "score" in line and line["score"] != calm.get(line["index"], line["score"])
            seen["another score" if is_other else "score" if "score" in line else line["error"]["code"]] += 1

    came_back = await _then_as_before(server, lambda: _many(read_slowly, number))
    expect(set(seen) <= {"score", "deadline"}, seen)
    return {"outcomes": dict(seen), **came_back}


async def _many(action: Callable[[], Awaitable[None]], number: int) -> None:
    """Runs so many of an action, 200 at a time."""
    slots = asyncio.Semaphore(200)

    async def one() -> None:
        async with slots:
            await action()

    await asyncio.gather(*(one() for _ in range(number)))


async def _then_as_before(server: Server, disturb: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    """Disturbs a server and expects it to come back to where it was: scores, queue, descriptors, memory."""
    before = await scores(server)
    descriptors, memory = server.num_descriptors, server.resident_mib
    await disturb()
    await _until(lambda: _no_queue(server), 60)
    await _until(lambda: _at_most(server, descriptors + 3), 10 * TIMEOUT_S)
    expect(await scores(server) == before, "other scores afterwards")
    return {
        "descriptors": [descriptors, server.num_descriptors],
        "resident_mib": [round(memory, 1), round(server.resident_mib, 1)],
    }


async def _no_queue(server: Server) -> bool:
    samples = await server.metrics()
    return not any(value for name, value in samples.items() if name.startswith(QUEUE))


async def _at_most(server: Server, descriptors: int) -> bool:
    return server.num_descriptors <= descriptors


async def _until(is_so: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while not await is_so():
        expect(time.monotonic() < end_s, f"not as before within {timeout_s:g} s")
        await asyncio.sleep(0.2)


FAULTS: Final[dict[str, Callable[[Server], Awaitable[dict[str, Any]]]]] = {
    "memory, in halves": too_large_together,
    "memory, a pair": lambda server: one_pair_fails(server, "out_of_memory", "out_of_memory"),
    "NaN": lambda server: one_pair_fails(server, "nan", "non_finite"),
    "forward raises": lambda server: one_pair_fails(server, "raise", "engine_failure"),
    "callers leave": lambda server: callers_leave(server, 2000),
    "half bodies": lambda server: half_bodies(server, 400),
    "dead readers": lambda server: dead_readers(server, 40),
    "slow readers": lambda server: slow_readers(server, 20),
    "engine thread dies": lambda server: worker_is_lost(server, "die"),
    "forward hangs": lambda server: worker_is_lost(server, "hang"),
}


async def measure(names: list[str]) -> dict[str, Any]:
    """All faults, one after the other, against one server."""
    report: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "faults": {}, "otherwise": []}
    flags = ("--default-timeout-s", str(TIMEOUT_S), "--max-forward-s", str(FORWARD_S))
    async with serving(*flags, is_faulty=True) as server:
        for name in names:
            try:
                seen = await FAULTS[name](server)
            except (Otherwise, Broken, TimeoutError, KeyError) as error:
                seen = {"OTHERWISE": repr(error)}
                report["otherwise"].append(name)
                await server.wait_ready()
            report["faults"][name] = seen
            sys.stdout.write(f"{name:20} {seen}\n")
            sys.stdout.flush()
    return report


def main(arguments: list[str] | None = None) -> int:
    """Injects what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.faults", description=__doc__)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    report = asyncio.run(measure(parser.parse_args(arguments).faults))
    sys.stdout.write(json.dumps(report) + "\n")
    return int(bool(report["otherwise"]))


if __name__ == "__main__":
    sys.exit(main())

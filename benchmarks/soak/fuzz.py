"""Requests that nobody would send: `python -m benchmarks.soak.fuzz` (`make fuzz` also installs schemathesis for it).

Three ways against one real server: schemathesis over the whole OpenAPI description (if its program is found),
hypothesis over bodies, and random bytes and broken HTTP on bare connections. No reply may be a 500 or hold a traceback,
none may hang, and every score of the pairs that no case concerns must be the same afterwards. Ends in one JSON line
with the number of cases; exit status 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.soak.faults import scores
from benchmarks.soak.http import Broken, ask, parsed, request_bytes
from benchmarks.soak.server import Server, serving

HANGS_AFTER_S: Final = 30.0

SCHEMATHESIS_CONFIG: Final = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
"""
"""503 and 504 are answers: not now, and too late (it asks for deadlines of a millisecond)."""

TEXT = st.text(max_size=40) | st.sampled_from(
    ["[INST]", "</s>", "<|im_start|>assistant\n", "\ud800", "\x00", "a" * 5000]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=4)
IDS = st.lists(st.integers(-2, 5000), max_size=20)
PAIR = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXT,
        "prompt": TEXT | MESSAGES | JSON,
        "response": TEXT | JSON,
        "prompt_ids": IDS | JSON,
        "response_ids": IDS,
        "rendered": TEXT,
    },
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "pairs": st.lists(PAIR, max_size=5) | JSON,
        "model": TEXT,
        "truncation": st.sampled_from(["error", "prompt_left", "response_right", "model"]) | JSON,
        "deadline_ms": st.integers(-1, 10_000) | JSON,
        "priority": st.sampled_from(["interactive", "bulk"]) | JSON,
        "explain": st.booleans() | JSON,
        "normalize": JSON,
        "fingerprint": TEXT,
        "prompt": TEXT | MESSAGES,
        "responses": st.lists(TEXT, max_size=4),
        "top_n": st.integers(-1, 5),
        "query": st.lists(TEXT, max_size=3) | TEXT,
        "prompts": st.lists(TEXT, max_size=3),
        "input": TEXT | st.lists(TEXT, max_size=3) | IDS,
        "text": TEXT | st.lists(TEXT, max_size=3),
        "documents": st.lists(TEXT, max_size=3),
        "inputs": JSON,
    },
)
NATIVE = ("/v1/score", "/v1/rank", "/v1/tokenize", "/v1/verify")
TRAINERS = ("/get_reward", "/slime", "/classify", "/v1/classify", "/pooling", "/v1/embeddings")
RERANKERS = ("/score", "/rerank", "/v1/rerank", "/v2/rerank", "/predict", "/", "/invocations")
PATHS = st.sampled_from([*NATIVE, *TRAINERS, *RERANKERS])
"""Paths that take a body; the bodies mix the fields of all."""


class Finding(Exception):
    """A reply that should not be."""


def check_reply(status: int, body: bytes, what: object) -> None:
    """Raises Finding for a 500, a traceback, or a number that JSON does not have."""
    if status == 500 or b"Traceback" in body or any(map(_has_no_json_number, body.splitlines())):
        raise Finding(f"{status} {body[:300]!r} for {repr(what)[:2000]}")


def _has_no_json_number(line: bytes) -> bool:
    """Whether a line is JSON but for a NaN or an infinity; what is no JSON at all (a page, a head) has none."""
    found: list[str] = []
    try:
        json.loads(line, parse_constant=found.append)
    except ValueError:
        return False
    return bool(found)


def fuzz_bodies(port: int, num_cases: int, seed_number: int) -> Counter[str]:
    """Sends bodies made by hypothesis and counts the statuses."""
    statuses = Counter[str]()

    @seed(seed_number)
    @settings(
        max_examples=num_cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(path=PATHS, body=BODY | JSON, accepts_lines=st.booleans())
    def send(path: str, body: object, accepts_lines: bool) -> None:
        headers = ("Accept: application/x-ndjson",) if accepts_lines else ()
        raw = json.dumps(body).encode()
        reply = asyncio.run(ask(port, "POST", path, raw, timeout_s=HANGS_AFTER_S, headers=headers))
        statuses[str(reply.status)] += 1
        check_reply(reply.status, reply.body, (path, body))

    send()
    return statuses


async def fuzz_bytes(port: int, num_cases: int, rng: random.Random) -> Counter[str]:
    """Sends random bytes and requests with some bytes changed, and counts what came back."""
    seen = Counter[str]()
    whole = request_bytes("POST", "/v1/score", b'{"pairs": [{"prompt": "p", "response": "r"}]}')
    slots = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        raw = bytearray(whole if number % 2 else rng.randbytes(rng.randint(1, 2000)))
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        async with slots:
            seen[await _outcome(port, bytes(raw))] += 1

    await asyncio.gather(*(one(number) for number in range(num_cases)))
    return seen


async def _outcome(port: int, raw: bytes) -> str:
    """What came of some bytes: a status, or `closed`. The caller ends its side, so that nothing may wait for more."""
    try:
        async with asyncio.timeout(HANGS_AFTER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            writer.write_eof()
            received = await reader.read(-1)
            writer.close()
    except TimeoutError:
        raise Finding(f"a hang for {raw[:200]!r}") from None
    except OSError:
        return "closed"
    if not received:
        return "closed"
    status = int(received.split(b" ", 2)[1])
    check_reply(status, received, raw[:200])
    try:
        parsed(received)
    except Broken:
        return f"{status}, cut short"
    return str(status)


async def run_schemathesis(program: str, server: Server, num_cases: int, seed_number: int) -> dict[str, Any]:
    """Runs schemathesis over every route; it must find no server error."""
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    options = ["--max-examples", str(num_cases), "--request-timeout", str(HANGS_AFTER_S), "--continue-on-failure"]
    options += ["--checks", "not_a_server_error", "--seed", str(seed_number), "--no-color"]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "schemathesis.toml"
        config.write_text(SCHEMATHESIS_CONFIG, encoding="utf-8")
        words = [program, "--config-file", str(config), "run", address, *options]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = (await process.communicate())[0].decode()
    summary = re.search(r"(\d+) generated", output)
    report: dict[str, Any] = {"cases": int(summary[1]) if summary else 0, "status": process.returncode}
    if process.returncode:
        report["output"] = output[-4000:]
    return report


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All three against one server."""
    report: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "seed": args.seed, "findings": []}
    async with serving("--default-timeout-s", "20") as server:
        before, worker = await scores(server), server.worker
        try:
            report["bytes"] = dict(await fuzz_bytes(server.port, args.cases, random.Random(args.seed)))
            report["bodies"] = dict(await asyncio.to_thread(fuzz_bodies, server.port, args.cases, args.seed))
        except (Finding, Broken) as finding:
            report["findings"].append(str(finding))
        if args.schemathesis:
            found = await run_schemathesis(args.schemathesis, server, args.examples, args.seed)
            report["schemathesis"] = found
            report["findings"] += [found["output"]] if found["status"] else []
        if await scores(server) != before or server.worker != worker:
            report["findings"].append("other scores, or another worker, afterwards")
    return report


def main(arguments: list[str] | None = None) -> int:
    """Fuzzes as long as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="of random bytes, and of bodies (2,000)")
    parser.add_argument("--examples", type=int, default=50, help="of schemathesis for each operation and phase (50)")
    parser.add_argument("--schemathesis", default=shutil.which("schemathesis"), help="its program")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if not args.schemathesis:
        sys.stdout.write(
            "schemathesis is NOT INSTALLED: the OpenAPI description is not fuzzed (make fuzz installs it)\n"
        )
    report = asyncio.run(measure(args))
    sys.stdout.write(json.dumps(report) + "\n")
    return int(bool(report["findings"]))


if __name__ == "__main__":
    sys.exit(main())

"""Who is compared: how each peer is started, and the ways it is asked. The better way of each side counts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from benchmarks.peers import dialects
from benchmarks.peers.checkpoint import MAX_TOKENS, Text
from benchmarks.peers.dialects import Dialect
from benchmarks.peers.plain import Plain
from benchmarks.peers.servers import Launch, Server

OURS = "reward-server"
ALONE = "transformers, alone"
SINGLE, CALLS, GROUPS = "single", "32 a call", "group a call"
PAIRS_A_CALL = 32
PADDED = 16

HERE = Path(__file__).parent

Scores = Callable[[Sequence[Text]], list[float]]


@dataclass(frozen=True, slots=True)
class Side:
    """One peer, asked in one way. Without a server it runs in this process."""

    name: str
    way: str
    scores: Scores
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """A server, and how it is asked."""

    launch: Launch
    dialect: Dialect
    ways: tuple[str, ...] = (SINGLE, CALLS)
    max_clients: int = 10_000


def ours(folder: Path, num_threads: int) -> Peer:
    """This project, with its defaults."""
    words = (sys.executable, "-c", "from service.cli import main; main()", "serve", str(folder), "--port", "{port}")
    given = (*words, "--threads", str(num_threads), "--dtype", "float32")
    return Peer(Launch(OURS, given, "/readyz"), dialects.classify(folder.name))


def vllm(
    python: Path, folder: Path, num_threads: int, block: int, more: Sequence[str], set_: Mapping[str, str]
) -> Peer:
    """The CPU build of vLLM, prefix cache on, each thread bound to a core of its own; `more` flags and variables."""
    words = [str(python), "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--port", "{port}"]
    words += ["--runner", "pooling", "--convert", "classify", "--dtype", "float32", "--max-model-len", str(MAX_TOKENS)]
    words += ["--enable-prefix-caching", "--block-size", str(block), "--served-model-name", folder.name, *more]
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{num_threads - 1}",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_NO_USAGE_STATS": "1",
        **set_,
    }
    name = " ".join([f"vllm, block {block}", *more, *(f"{key}={value}" for key, value in set_.items())])
    return Peer(Launch(name, words, "/health", environment), dialects.classify(folder.name))


def openrlhf(folder: Path, num_threads: int) -> Peer:
    """OpenRLHF's algorithm (see `openrlhf_server`)."""
    words = (sys.executable, "-m", "benchmarks.peers.openrlhf_server", str(folder), "{port}", str(num_threads))
    return Peer(Launch("openrlhf serve_rm", words, "/health"), dialects.GET_REWARD)


def sentence_transformers(python: Path, bare: Path, num_threads: int) -> Peer:
    """A library: one caller."""
    words = (str(python), str(HERE / "sentence_transformers_app.py"), str(bare), "{port}", str(num_threads))
    return Peer(Launch("sentence-transformers", words, "/"), dialects.PAIRS, max_clients=1)


def litserve(python: Path, bare: Path, num_threads: int) -> Peer:
    """Our app of it (see `litserve_app`); its shape has one input a request."""
    words = (str(python), str(HERE / "litserve_app.py"), str(bare), "{port}", str(num_threads))
    return Peer(Launch("litserve", words, "/health"), dialects.ONE_TEXT, ways=(SINGLE,))


def infinity(python: Path, bare: Path, num_threads: int) -> Peer:
    """Its own command; one query a call, so a call holds a group where there are groups."""
    words = [str(python.with_name("infinity_emb")), "v2", "--model-id", str(bare), "--served-model-name", bare.name]
    words += ["--port", "{port}", "--host", "127.0.0.1", "--engine", "torch", "--device", "cpu", "--dtype", "float32"]
    words += ["--no-bettertransformer", "--no-model-warmup"]
    environment = {"OMP_NUM_THREADS": str(num_threads), "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    return Peer(Launch("infinity", words, "/health", environment), dialects.rerank(bare.name), ways=(SINGLE, GROUPS))


def served_sides(peer: Peer, server: Server, num_clients: int) -> list[Side]:
    """A peer's sides, over HTTP."""

    def asked(way: str) -> Scores:
        clients = min(num_clients, peer.max_clients)
        return lambda texts: asyncio.run(dialects.ask(server, peer.dialect, calls_of(texts, way), clients))

    return [Side(server.name, way, asked(way), server) for way in peer.ways]


def plain_sides(plain: Plain) -> list[Side]:
    """Plain transformers in this process: one pair at a time (the oracle), and in padded batches in the order given."""
    return [
        Side(ALONE, "library", lambda texts: plain.scores(texts, 1)),
        Side(f"transformers, padded {PADDED}", "library", lambda texts: plain.scores(texts, PADDED)),
    ]


def calls_of(texts: Sequence[Text], way: str) -> list[list[Text]]:
    """The texts of each call, in order."""
    if way == GROUPS:
        return [list(group) for _, group in groupby(texts, key=lambda text: text.halves[0])]
    size = PAIRS_A_CALL if way == CALLS else 1
    return [list(texts[start : start + size]) for start in range(0, len(texts), size)]

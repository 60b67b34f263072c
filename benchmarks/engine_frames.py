"""Our side of the engine's comparison: packed frames through the real waiting line, batcher and prefix directory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from service.engine.protocol import Engine
from service.scheduling.batcher import FrameLimits, take_frame
from service.scheduling.jobs import Job, JobId, group_of
from service.scheduling.packing import PackedFrame
from service.scheduling.prefix_directory import PrefixDirectory
from service.scheduling.waiting_line import WaitingLine
from service.types import EncodedPair, Priority, Reward


class FrameRunner:
    """Runs pairs as the server does, as many frames at once as the engine can; nothing is kept from call to call."""

    def __init__(self, engine: Engine, kept_tokens: int, max_frame_tokens: int | None = None) -> None:
        self._engine = engine
        self._directory = PrefixDirectory(kept_tokens)
        self._limits = FrameLimits(max_frame_tokens or engine.info().max_frame_tokens)

    def scores(self, pairs: Sequence[EncodedPair]) -> tuple[list[float], int]:
        """The scores of the pairs, and the tokens computed."""
        scores, computed, slots = [0.0] * len(pairs), 0, []
        line = _line_of(pairs)
        in_hand: deque[tuple[PackedFrame, Future[tuple[Reward, ...]]]] = deque()
        with ThreadPoolExecutor(self._engine.num_lanes) as lanes:
            while len(line) or in_hand:
                is_room = len(in_hand) <= self._engine.num_lanes
                packed = take_frame(line, self._limits, 0.0, self._directory) if is_room else None
                if packed is not None:
                    in_hand.append((packed, lanes.submit(self._engine.begin(packed.frame))))
                    continue
                packed, rewards = in_hand.popleft()
                for taken, reward in zip(packed.jobs, rewards.result(), strict=True):
                    scores[taken.job.job_id] = reward.score
                for node in packed.used:
                    self._directory.unpin(node)
                computed += packed.frame.num_tokens
                slots += [store.slot for store in packed.frame.stores]
        self._directory.forget(slots)
        return scores, computed


def _line_of(pairs: Sequence[EncodedPair]) -> WaitingLine:
    line = WaitingLine()
    for number, pair in enumerate(pairs):
        line.enqueue(job_of(number, pair))
    return line


def job_of(number: int, pair: EncodedPair) -> Job:
    """A pair as the waiting line holds it, with no deadline to speak of."""
    return Job(JobId(number), pair, Priority.INTERACTIVE, 0.0, 1e9, group_of(pair))

"""The engine for backbones that the packed attention does not do: one pair a forward, whole, without padding.

As exact as frames: a forward's shapes depend on the pair alone, and nobody else is in it. Slower, since nothing is
shared. Attention is transformers' own, in the implementation that does all the family asks for.
"""

from __future__ import annotations

import random
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from service.engine.failures import engine_errors
from service.engine.heads import Head, read_rewards
from service.engine.numeric_facts import device_name, numeric_mode
from service.engine.protocol import Compute, Progress
from service.engine.torch_engine import EngineOptions
from service.errors import EngineFailure
from service.frame import Frame
from service.types import EngineInfo, Reward

CHECKED_TOKENS = 64
"""Length of the random sequence that warms the engine up and must give the same bits twice."""


class PlainEngine:
    """Runs the chunks of a frame one by one; each must be a whole pair. Belongs to one thread."""

    num_lanes = 1

    def __init__(self, backbone: nn.Module, head: Head, options: EngineOptions) -> None:
        parameter = next(backbone.parameters())
        self._backbone = backbone.eval()
        self._head = head
        self._max_tokens = options.max_tokens
        self._max_frame_tokens = max(options.max_frame_tokens, options.max_tokens)
        self._device = parameter.device
        self._dtype = parameter.dtype
        self._num_threads = options.num_threads if self._device.type == "cpu" else 1

    def info(self) -> EngineInfo:
        """Describes the engine; frames are not filled up, so there are no frame sizes."""
        return EngineInfo(
            device=str(self._device),
            device_name=device_name(self._device),
            numeric_mode=numeric_mode(
                self._dtype,
                self._device,
                num_threads=self._num_threads,
                linear="torch",
                attention=f"plain, {self._backbone.config._attn_implementation}",  # type: ignore[union-attr]
                frame_sizes=(),
            ),
            max_frame_tokens=self._max_frame_tokens,
            objectives=self._head.objectives,
        )

    def prepare(self) -> None:
        """Takes the threads it shall have, so that frames can be run; nothing is checked yet."""
        if self._device.type == "cpu":
            torch.set_num_threads(self._num_threads)

    def warm_up(self, progress: Progress) -> None:
        """Runs one random sequence twice and compares the bits."""
        self.prepare()
        progress("one pair a forward: this family is not packed")
        rng = random.Random(0)
        vocab_size = int(self._backbone.config.vocab_size)  # type: ignore[union-attr, arg-type]
        ids = tuple(rng.randrange(vocab_size) for _ in range(min(CHECKED_TOKENS, self._max_tokens)))
        with torch.inference_mode():
            if not torch.equal(self._hidden(ids), self._hidden(ids)):
                raise EngineFailure("two forwards of one sequence gave different bits on this machine")

    def begin(self, frame: Frame) -> Compute:
        """Nothing is done ahead."""
        return partial(self.run, frame)

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Computes one frame, pair by pair."""
        continues = any(parent >= 0 for parent in frame.parents) or any(frame.prefixes) or frame.stores
        if continues or not all(frame.sees_itself):
            raise EngineFailure("the plain path takes a pair as one chunk, keeps none, and knows no probes")
        with engine_errors(frame.num_tokens), torch.inference_mode():
            hidden_NH = torch.cat(
                [self._hidden(frame.token_ids[start:stop]) for start, stop in pairwise(frame.chunk_bounds)]
            )
            return read_rewards(self._head, hidden_NH, frame.read_rows, frame.read_bounds, frame.read_counts)

    def close(self) -> None:
        """Drops the weights."""
        self._backbone = nn.Module()

    def _hidden(self, ids: tuple[int, ...]) -> Tensor:
        """Hidden states of one pair after the last layer and norm, (T, H)."""
        more = {} if self._is_encoder() else {"use_cache": False}
        output = self._backbone(input_ids=torch.tensor([ids], device=self._device), **more)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def _is_encoder(self) -> bool:
        return not hasattr(self._backbone.config, "use_cache")

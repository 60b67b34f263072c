"""The engine that computes: transformers' own backbone under our packed attention, and a reward head in fp32.

One frame is one forward pass over one row of tokens. What a pair's score may depend on besides its ids and the
weights is listed in `info().numeric_mode`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from service.engine import attention, decoder_layer, self_check, shared_prefix, shortcuts
from service.engine.failures import engine_errors
from service.engine.frame_sizes import admit_frame_sizes, frame_ladder, shares_bits
from service.engine.frames import FrameTensors, to_tensors
from service.engine.heads import Head, read_rewards
from service.engine.lanes import WORTH_SHARING, Lanes
from service.engine.memory import fits, full_frame_behind, longest_pair, peak_bytes
from service.engine.numeric_facts import device_name, numeric_mode
from service.engine.packed_linear import WORTH_PACKING
from service.engine.prefix_slots import PrefixSlots
from service.engine.protocol import Compute, Progress
from service.engine.self_check import PlainForward
from service.engine.shortcuts import Shortcuts
from service.errors import OutOfMemory
from service.frame import Frame
from service.types import EngineInfo, Reward


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine is to run; all of it is part of the numeric mode.

    Attributes:
        max_tokens: The longest pair, in tokens.
        max_frame_tokens: The most tokens of one frame. Longer pairs come in parts, if the directory keeps them.
        num_threads: Processor cores: for several frames at once, or all for one; ignored on accelerators.
        min_packed_weights: Weights of the smallest layer worth laying out for oneDNN; see `packed_linear`.
        min_shared_work: Work that each core must get for a frame to be spread over several; see `lanes`.
        min_frame_tokens: What frames may shrink to where the device has no memory for more; None if they must not.
    """

    max_tokens: int
    max_frame_tokens: int
    num_threads: int = 1
    min_packed_weights: int = WORTH_PACKING
    min_shared_work: int = WORTH_SHARING
    min_frame_tokens: int | None = None


class TorchEngine:
    """Runs frames on one device: one at a time, or on the processor one a core (`num_lanes`)."""

    def __init__(self, backbone: nn.Module, head: Head, options: EngineOptions) -> None:
        parameter = next(backbone.parameters())
        self._backbone = backbone.eval()
        self._head = head
        self._options = options
        self._device = parameter.device
        self._dtype = parameter.dtype
        self._num_threads = options.num_threads if self._device.type == "cpu" else 1
        self._lays_out_ahead = self._device.type != "cpu"
        num_layers = int(backbone.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        self._kept = PrefixSlots(num_layers)
        self._take_lanes()
        self._frame_sizes = self._ladder[-1:]
        self._linear: str | None = None
        self._shortcuts = Shortcuts()
        self._splits_far = shared_prefix.is_for(self._device, self._dtype)
        self._joins_siblings = False
        self._own_attention = str(backbone.config._attn_implementation)  # type: ignore[union-attr]

    def info(self) -> EngineInfo:
        """Describes the engine; frame sizes are complete after `warm_up`."""
        return EngineInfo(
            device=str(self._device),
            device_name=device_name(self._device),
            numeric_mode=self._numeric_mode(),
            max_frame_tokens=self._ladder[-1],
            frame_sizes=self._frame_sizes,
            objectives=self._head.objectives,
        )

    @property
    def num_lanes(self) -> int:
        """One for each core where every layer is ours and stateless, so that each operation runs on one thread."""
        return self._lanes.num

    def prepare(self) -> None:
        """Installs the packed attention, so that frames can be run; nothing is checked yet. Harmless when repeated."""
        if self._device.type == "cpu":
            torch.set_num_threads(self._num_threads)
        attention.install(self._backbone)

    def warm_up(self, progress: Progress) -> None:
        """Installs our layers, compares them with the plain forward, and admits frame sizes that memory allows.

        Raises:
            OutOfMemory: If even the smallest frames that will do are too large for the device.
        """
        attention.use(self._backbone, self._own_attention)
        vocab_size = int(self._backbone.config.vocab_size)  # type: ignore[union-attr, arg-type]
        self._take_lanes()
        progress("comparing packed attention with the model's plain forward")
        with torch.inference_mode():
            plain = self_check.plain_forwards(self._backbone, self._options.max_tokens)
            self.prepare()
            self._linear = self._install_layers()
            if self._device.type == "cpu":
                torch.set_num_threads(self._operation_threads)
            self._joins_siblings = self._may_join_siblings()
            shortcuts.choose(self._backbone, self._device, self._dtype, partial(self._check, plain), progress)
        self._fit_frames(vocab_size, progress)
        progress(f"peak memory so far: {peak_bytes(str(self._device)) / 2**30:.2f} GiB")

    def begin(self, frame: Frame) -> Compute:
        """Takes a frame in."""
        if frame.drops:
            self._kept.drop(frame.drops)
        for store in frame.stores:
            start, stop = frame.chunk_bounds[store.chunk : store.chunk + 2]
            self._kept.open(store.slot, stop - start, frame.num_tokens)
        return partial(self._compute, frame, self._laid_out_ahead(frame))

    def run(self, frame: Frame) -> tuple[Reward, ...]:
        """Takes a frame in and computes it."""
        return self.begin(frame)()

    def _laid_out_ahead(self, frame: Frame) -> FrameTensors | None:
        """On an accelerator a frame is laid out, and copied, while the one before it runs; cores have enough to do."""
        if not self._lays_out_ahead:
            return None
        with self._keeps_nothing_if_it_fails(frame), engine_errors(frame.num_tokens):
            return self._laid_out_to_read(frame)

    def _compute(self, frame: Frame, ahead: FrameTensors | None) -> tuple[Reward, ...]:
        with self._keeps_nothing_if_it_fails(frame):
            self._kept.require(slot for slots in (*frame.prefixes, frame.read_slots) for slot in slots)
            with engine_errors(frame.num_tokens), torch.inference_mode(), self._lanes.entered():
                self._kept.wait_to_follow({slot for slots in frame.prefixes for slot in slots}, frame.num_tokens)
                return self._rewards(frame, ahead)

    @contextmanager
    def _keeps_nothing_if_it_fails(self, frame: Frame) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._kept.drop(store.slot for store in frame.stores)
            raise

    def _check(self, plain: Sequence[PlainForward], shortcuts: Shortcuts) -> None:
        self._shortcuts = shortcuts
        self_check.compare(plain, self._hidden, self._ladder)

    def _may_join_siblings(self) -> bool:
        """Not where threads share an operation: they would split its rows wherever their number says."""
        is_apt = self._splits_far and self._operation_threads == 1
        return is_apt and shared_prefix.joins_bits(*_heads_of(self._backbone))

    def _take_lanes(self) -> None:
        """Decides what the cores are for: frames, or the operations of one. Done again when warm: layers change."""
        has_lanes = decoder_layer.runs_in_lanes(self._backbone)
        self._operation_threads = 1 if has_lanes else self._num_threads
        self._lanes = Lanes(self._num_threads if has_lanes else 1, self._options.min_shared_work)
        self._kept.while_waiting = self._lanes.left
        self._is_fine = has_lanes and self._device.type == "cpu"
        self._lay_ladder()

    def _lay_ladder(self) -> None:
        self._ladder = frame_ladder(self._options.max_frame_tokens, self._operation_threads, is_fine=self._is_fine)

    def _fit_frames(self, vocab_size: int, progress: Progress) -> None:
        """Admits frame sizes and runs longest pairs; while the device has no memory for that, frames are halved.

        Raises:
            OutOfMemory: As `warm_up`.
        """

        def admit_and_touch() -> None:
            self._admit_frame_sizes(vocab_size, progress)
            self._touch_memory(vocab_size)

        while not fits(admit_and_touch):
            given, least = self._options.max_frame_tokens, self._options.min_frame_tokens
            if least is None or given <= least:
                raise OutOfMemory(
                    f"the device has no memory for a pair of {self._options.max_tokens} tokens, the longest allowed, "
                    f"in frames of {given}" + ("" if least is None else ", the smallest that will do")
                )
            progress(f"no memory for frames of {given} tokens: trying {max(least, given // 2)}")
            self._options = replace(self._options, max_frame_tokens=max(least, given // 2))
            self._lay_ladder()

    def _admit_frame_sizes(self, vocab_size: int, progress: Progress) -> None:
        """Admits row counts of frames with a core each, then sharing, if a frame on all cores gets the same bits."""
        hidden_of = torch.inference_mode()(self._hidden)
        with self._lanes.apart():
            self._frame_sizes = admit_frame_sizes(self._ladder, hidden_of, vocab_size, progress, self.num_lanes)
        self._lanes.is_sharing = shares_bits(self._frame_sizes, hidden_of, self._lanes, vocab_size, progress)

    def _install_layers(self) -> str | None:
        options = self._options
        return decoder_layer.install(self._backbone, options.max_tokens + 1, options.min_packed_weights)

    def _touch_memory(self, vocab_size: int) -> None:
        """Runs longest pairs in full frames, one in each lane: what was in use then is the most that frames take.

        Where each chunk gets a copy of the keys it sees, also a full frame of chunks that see as many as they may.
        """
        sizes = (self._options.max_tokens, self._ladder[-1], vocab_size)
        frames = list(longest_pair(*sizes))
        if self._shortcuts.varlen is not None:
            frames.append(full_frame_behind(*sizes))
        try:
            with ThreadPoolExecutor(self.num_lanes) as executor:
                for frame in frames:
                    for done in [executor.submit(self.run, frame) for _ in range(self.num_lanes)]:
                        done.result()
        finally:
            self._kept.drop(store.slot for frame in frames for store in frame.stores)

    def close(self) -> None:
        """Drops the weights and what was kept."""
        self._backbone = nn.Module()
        self._kept = PrefixSlots(0)
        self._lanes.close()

    def _rewards(self, frame: Frame, ahead: FrameTensors | None) -> tuple[Reward, ...]:
        """Runs the frame, keeps what is to be kept of it, and reads its pairs."""
        hidden_NH = self._forward(frame, ahead or self._laid_out_to_read(frame))[: frame.num_tokens]
        for store in frame.stores:
            if store.keeps_hidden:
                self._kept.store_hidden(
                    store.slot, hidden_NH[slice(*frame.chunk_bounds[store.chunk : store.chunk + 2])]
                )
        if frame.read_slots:
            hidden_NH = torch.cat([hidden_NH, self._kept.hidden(frame.read_slots, like=hidden_NH)])
        return read_rewards(self._head, hidden_NH, frame.read_rows, frame.read_bounds, frame.read_counts)

    def _hidden(self, frame: Frame, frame_sizes: Sequence[int]) -> Tensor:
        """Hidden states of all rows of a frame after the final norm, (R, H)."""
        return self._forward(frame, self._laid_out(frame, frame_sizes, only_read=False))

    def _laid_out_to_read(self, frame: Frame) -> FrameTensors:
        """Where the layers are ours, without the rows that nobody reads in the last one."""
        return self._laid_out(frame, self._frame_sizes, only_read=self._linear is not None)

    def _laid_out(self, frame: Frame, frame_sizes: Sequence[int], *, only_read: bool) -> FrameTensors:
        tensors = to_tensors(
            frame,
            frame_sizes,
            self._device,
            self._kept,
            self._lanes,
            only_read=only_read,
            varlen=self._shortcuts.varlen,
        )
        tensors.layout.joins_siblings = self._joins_siblings
        return tensors

    def _forward(self, frame: Frame, tensors: FrameTensors) -> Tensor:
        """Hidden states of a frame after the final norm, (R, H); zeros in rows that were left out."""
        output = self._backbone(
            input_ids=tensors.input_ids,
            position_ids=tensors.position_ids,
            use_cache=False,
            frame=tensors.layout,
        )
        hidden: Tensor = output.last_hidden_state[0]
        if tensors.rows is None:
            return hidden
        num_read = tensors.rows.shape[0]
        return hidden.new_zeros(frame.num_tokens, hidden.shape[1]).index_copy(0, tensors.rows, hidden[:num_read])

    def _numeric_mode(self) -> dict[str, str]:
        return numeric_mode(
            self._dtype,
            self._device,
            num_threads=self._operation_threads,
            attention=attention.ATTENTION_NAME + (shared_prefix.MODE if self._splits_far else ""),
            shortcuts=str(self._shortcuts),
            linear=self._linear or "torch",
            frame_sizes=self._frame_sizes,
        )


def _heads_of(backbone: nn.Module) -> tuple[int, int]:
    """Number and size of the query heads."""
    config: Any = backbone.config
    num_heads = int(config.num_attention_heads)
    return num_heads, int(getattr(config, "head_dim", None) or config.hidden_size // num_heads)

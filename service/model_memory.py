"""What one model may take of a device: how large its frames are, and how many tokens of prompts it keeps.

On the processor both are settled before the model runs. On an accelerator they are measured: frames shrink while the
engine warms up until the longest pair fits (`TorchEngine.warm_up`); what is kept takes no more than is free then.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_store.families import is_packed
from model_store.loader import LoadedModel
from service.engine.devices import default_frame_tokens, default_kept_tokens, default_num_threads
from service.engine.memory import passing_bytes, peak_bytes, room_bytes
from service.engine.prefix_slots import kept_bytes_per_token
from service.engine.torch_engine import EngineOptions
from service.errors import SettingsError
from service.settings import Settings

WORKING_BYTES = 112 * 2**20
"""What requests at work and the gaps between allocations add under load. With the demo model 97 MiB were seen after 20
minutes (7.5 million tokens), most of them after four; pages of its own for each kept chunk (mmap) made it 134."""

USABLE_ROOM = 0.9
"""Part of a device's room that kept prompts may take; the rest is for gaps between allocations."""


@dataclass(slots=True)
class Promised:
    """What the models of a process, on one accelerator, may still come to take of it."""

    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """The memory of one model on one device.

    Attributes:
        device: In torch's words.
        max_tokens: The longest pair.
        kept_bytes_per_token: What one kept token takes; 0 for families whose pairs are computed as a whole.
        wanted_tokens: How many tokens are to be kept if there is room.
    """

    device: str
    max_tokens: int
    kept_bytes_per_token: int
    wanted_tokens: int
    settings: Settings

    @classmethod
    def of(cls, weights: LoadedModel, max_tokens: int, settings: Settings, device: str) -> ModelMemory:
        """The memory of a model that is loaded and not yet warm."""
        if not is_packed(weights.manifest.backbone.family):
            return cls(device, max_tokens, 0, 0, settings)
        per_token = kept_bytes_per_token(weights.backbone)
        wanted = settings.prefix_cache_tokens
        if wanted is None:
            wanted = default_kept_tokens(device, per_token, max_tokens)
        return cls(device, max_tokens, per_token, wanted, settings)

    def engine_options(self) -> EngineOptions:
        """Frames must hold the longest link of a chain, and its probe; unless given, their size may shrink to that.

        The link is a chunk, or a whole pair if what earlier frames computed of it could not be kept.
        """
        longest = self.settings.chunk_tokens if self.wanted_tokens >= self.max_tokens else self.max_tokens
        given = self.settings.max_frame_tokens
        return EngineOptions(
            max_tokens=self.max_tokens,
            max_frame_tokens=max(given or default_frame_tokens(self.device), longest + 1),
            num_threads=self.settings.threads or default_num_threads(),
            min_frame_tokens=longest + 1 if given is None else None,
        )

    def kept_tokens(self, promised: Promised) -> int:
        """Capacity of the prefix cache beside a warm engine, whose longest pair was kept whole once.

        Args:
            promised: What the models before this one may take; this one's share is added.

        Raises:
            SettingsError: If a number was given that the device has no room for.
        """
        kept = self._that_fit(promised.num_bytes) if self.wanted_tokens else 0
        promised.num_bytes += kept * self.kept_bytes_per_token + passing_bytes(self.device)
        return kept

    def _that_fit(self, promised_bytes: int) -> int:
        room = room_bytes(self.device)
        if room is None:
            return self.wanted_tokens
        most = self.max_tokens + int(max(0, room - promised_bytes) * USABLE_ROOM) // self.kept_bytes_per_token
        if self.settings.prefix_cache_tokens is not None and self.wanted_tokens > most:
            raise SettingsError(
                f"prefix_cache_tokens: given {self.wanted_tokens}; beside weights and frames {self.device} has "
                f"room for {most}, at {self.kept_bytes_per_token / 2**20:.3g} MiB each",
                param="prefix_cache_tokens",
            )
        return min(self.wanted_tokens, most)

    def budget_bytes(self, kept_tokens: int) -> int:
        """The most that a warm engine takes with a full prefix cache."""
        return peak_bytes(self.device) + kept_tokens * self.kept_bytes_per_token + WORKING_BYTES

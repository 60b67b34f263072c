"""What a PEFT adapter's folder says: a low-rank change to a base model, and often a reward head.

The layout is PEFT's (`adapter_config.json`, `adapter_model.safetensors`; huggingface.co/docs/peft, checkpoint format).
Only plain LoRA is merged; whatever else changes the arithmetic is refused by name. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_store.errors import SourceError, UnsupportedModel

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": ("SEQ_CLS",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False,),
    "lora_bias": (False,),
    "alora_invocation_tokens": (None,),
    "use_qalora": (False,),
    "layer_replication": (None, []),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
}
"""What a field may say for `W + scale * B @ A` to be all there is to it; one that is absent says the first."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        folder: Where its files lie.
        base: What it changes: a folder or a Hugging Face id, as the adapter's author wrote it; empty if unsaid.
        rank, alpha: Of every module that the patterns do not name.
        rank_pattern, alpha_pattern: The same for modules whose name ends with, or matches, the key.
        base_revision: Commit, branch or tag of the base's repository, or None for its newest.
        is_rank_stabilized: Whether the scale is `alpha / sqrt(rank)` instead of `alpha / rank`.
    """

    folder: Path
    base: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    is_rank_stabilized: bool = False
    base_revision: str | None = None

    @property
    def weights_file(self) -> str:
        """The name of its weights.

        Raises:
            SourceError: If there are none.
        """
        for name in WEIGHTS:
            if (self.folder / name).is_file():
                return name
        raise SourceError(f"{self.folder}: no {' or '.join(WEIGHTS)} beside {CONFIG}")

    @property
    def file_names(self) -> tuple[str, str]:
        """Every file that can change a score."""
        return (CONFIG, self.weights_file)

    def rank_of(self, module: str) -> int:
        """The rank of a module's change."""
        return int(_by_pattern(self.rank_pattern, module, self.rank))

    def scale_of(self, module: str) -> float:
        """What `B @ A` is multiplied by."""
        alpha, rank = float(_by_pattern(self.alpha_pattern, module, self.alpha)), self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.is_rank_stabilized else rank)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def read_adapter(folder: Path) -> Adapter:
    """Reads an adapter's configuration.

    Raises:
        SourceError: If it is not there or not JSON.
        UnsupportedModel: If it asks for more than plain LoRA on a sequence classifier; names the fields.
    """
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read as JSON: {error}") from error
    wrong = {name: fields[name] for name, allowed in _NEUTRAL.items() if fields.get(name, allowed[0]) not in allowed}
    if wrong:
        words = ", ".join(f"{name} is {given!r} (allowed: {_NEUTRAL[name][0]!r})" for name, given in wrong.items())
        raise UnsupportedModel(f"{path}: {words}; only plain LoRA on a sequence classifier is merged")
    if not isinstance(fields.get("r"), int) or fields["r"] < 1 or "lora_alpha" not in fields:
        raise UnsupportedModel(
            f"{path}: r is {fields.get('r')!r}, lora_alpha {fields.get('lora_alpha')!r}; both needed"
        )
    return Adapter(
        folder=folder,
        base=fields.get("base_model_name_or_path") or "",
        rank=fields["r"],
        alpha=float(fields["lora_alpha"]),
        rank_pattern=fields.get("rank_pattern") or {},
        alpha_pattern=fields.get("alpha_pattern") or {},
        is_rank_stabilized=bool(fields.get("use_rslora")),
        base_revision=fields.get("revision") or None,
    )


def _by_pattern(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """PEFT's rule: the first key that the module's name matches, as a whole or from one of its dots on."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise

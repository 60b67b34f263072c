"""When bulk work that interactive work keeps passing goes first: one rule for every line it waits in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BULK_PATIENCE_S: Final = 0.5
"""How long bulk work is passed over. The same before the tokenizer as before the engine: tokenizing faster than frames
are taken helps nobody, and slower starves them."""


@dataclass(slots=True)
class BulkPatience:
    """Remembers when bulk work was last served. No clock: times are given, in seconds."""

    patience_s: float = BULK_PATIENCE_S
    served_s: float = float("-inf")

    def is_over(self, oldest_arrived_s: float, now_s: float) -> bool:
        """Whether the oldest bulk work has waited longer than that since it came, and since any was served."""
        return now_s - max(oldest_arrived_s, self.served_s) > self.patience_s

"""What a forward pass may raise, as the errors of `service.engine.protocol`: one reading for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from service.engine.protocol import PrefixLost
from service.errors import EngineFailure, OutOfMemory, RewardServiceError


@contextmanager
def engine_errors(num_tokens: int) -> Iterator[None]:
    """Turns whatever is raised inside into `OutOfMemory` or `EngineFailure`; what ends a process passes as it is."""
    try:
        yield
    except (RewardServiceError, PrefixLost):
        raise
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"the device has no memory for a frame of {num_tokens} tokens") from error
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise OutOfMemory(f"the machine has no memory for a frame of {num_tokens} tokens") from error
        raise EngineFailure(f"the forward pass failed: {type(error).__name__}: {error}") from error

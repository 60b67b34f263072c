"""Set-up for all tests: deterministic math before anything imports torch, and no model hub."""

import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.numeric_mode import let_threads_sleep, set_deterministic_math

if TYPE_CHECKING:
    from tests.edge import Edge

set_deterministic_math(os.environ)
let_threads_sleep(os.environ)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_client = importlib.util.find_spec("reward_client")
if _client is None or _client.origin is None:  # the folder of that name is no package: it is not installed
    sys.path.insert(0, str(Path(__file__).parents[1] / "reward_client" / "src"))


@pytest.fixture
async def edge() -> AsyncIterator["Edge"]:
    """The HTTP edge, whose connections have all ended at the end of the test."""
    from tests.edge import Edge

    edge = Edge()
    yield edge
    await edge.finish()

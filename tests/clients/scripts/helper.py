"""What the client scripts share. They run in environments that have nothing of ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def read_task() -> dict[str, Any]:
    """What the test wants scored, and where."""
    task: dict[str, Any] = json.load(sys.stdin)
    return task


def tell(**findings: Any) -> None:
    """Gives the findings to the test, on a line of its own; whatever the client prints stands before it."""
    print("\n" + json.dumps(findings))


def raised(call: Callable[[], object]) -> str:
    """The names of the error that a call raises and of its bases; empty if it raises none."""
    try:
        call()
    except Exception as error:
        return " ".join(kind.__name__ for kind in type(error).__mro__)
    return ""

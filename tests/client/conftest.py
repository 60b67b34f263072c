"""Puts the client's source on the path where the package is not installed."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.find_spec("reward_client")
if _spec is None or _spec.origin is None:  # the folder of that name is no package
    sys.path.insert(0, str(Path(__file__).parents[2] / "reward_client" / "src"))

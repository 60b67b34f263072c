"""Puts the client's source on the path where the package is not installed."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("reward_client") is None or not hasattr(
    importlib.util.find_spec("reward_client"), "origin"
):
    sys.path.insert(0, str(Path(__file__).parents[2] / "reward_client" / "src"))

"""The file for OpenRLHF's `--reward.remote_url`: `reward_func`, set by environment variables.

    export REWARD_CLIENT_URL=http://127.0.0.1:8000     # and, if need be, REWARD_CLIENT_API_KEY, REWARD_CLIENT_RUN_ID
    --reward.remote_url "$(python -m reward_client.adapters.openrlhf_file)"

Run as a program it prints its own path. For other settings, write such a file with `openrlhf_reward_func`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from reward_client.adapters.openrlhf import openrlhf_reward_func

DEFAULT_URL = "http://127.0.0.1:8000"


def options_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the arguments of `openrlhf_reward_func` that the environment names."""
    named = {name: environ.get(f"REWARD_CLIENT_{name.upper()}") for name in ("url", "api_key", "run_id", "model")}
    return {"url": DEFAULT_URL, **{name: value for name, value in named.items() if value}}


if __name__ == "__main__":
    sys.stdout.write(f"{os.path.abspath(__file__)}\n")
else:
    reward_func = openrlhf_reward_func(**options_in(os.environ))

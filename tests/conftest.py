"""Set-up for all tests: deterministic math before anything imports torch, and no model hub."""

import os

from service.numeric_mode import set_deterministic_math

set_deterministic_math(os.environ)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

"""Client for reward-server: scores (prompt, response) pairs; a failure is never a number.

`Client` blocks, `AsyncClient` awaits; both split jobs of any size, try again what may pass, and return
exactly one result for each pair, in order, or raise. Needs httpx and the standard library.
"""

from reward_client._async_client import AsyncClient
from reward_client._client import Client
from reward_client._version import __version__
from reward_client.errors import (
    DeadlineExceeded,
    FingerprintChanged,
    FingerprintMismatch,
    InvalidPair,
    PairFailed,
    RequestRefused,
    RewardServerError,
    ServerUnavailable,
    TooLarge,
    Unauthorized,
    UnknownModel,
)
from reward_client.values import (
    ModelInfo,
    Pair,
    PairError,
    RankedResponse,
    RankReply,
    Result,
    ScoreReply,
    Tokenized,
    Usage,
)

__all__ = [
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "FingerprintChanged",
    "FingerprintMismatch",
    "InvalidPair",
    "ModelInfo",
    "Pair",
    "PairError",
    "PairFailed",
    "RankReply",
    "RankedResponse",
    "RequestRefused",
    "Result",
    "RewardServerError",
    "ScoreReply",
    "ServerUnavailable",
    "Tokenized",
    "TooLarge",
    "Unauthorized",
    "UnknownModel",
    "Usage",
    "__version__",
]

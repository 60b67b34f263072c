"""One `AsyncClient` for each event loop, for functions that are called from loops they do not choose.

A trainer may call its reward function from a loop of its own thread, or from a new loop each time; connections
belong to the loop that opened them, and end with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from reward_client._async_client import AsyncClient

Life = AsyncGenerator[AsyncClient, None]


class LoopClients:
    """Clients with the same settings, made when a loop first asks, closed when it ends.

    An event loop tells asynchronous generators that it ends (`asyncio.run` does so), and nobody else: so each client
    lives in a generator.

    Args:
        url: As of `AsyncClient`, like the options.
        options: Checked here and now.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._options = dict(options)
        self._clients: dict[asyncio.AbstractEventLoop, tuple[AsyncClient, Life]] = {}
        AsyncClient(url, **self._options)  # wrong options raise here

    async def current(self) -> AsyncClient:
        """Returns the client of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            life = self._life(loop)
            self._clients[loop] = (await life.__anext__(), life)  # does not give way to another task
        return self._clients[loop][0]

    async def _life(self, loop: asyncio.AbstractEventLoop) -> Life:
        async with AsyncClient(self._url, **self._options) as client:
            try:
                yield client
            finally:
                del self._clients[loop]

"""One raw ASGI connection, for what an HTTP client cannot do: leave in the middle, send a body in pieces, be slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from service.settings import Settings


class Connection:
    """Sends one request to an app and records what comes back; `leave` closes it from the caller's side."""

    def __init__(self, app: FastAPI, path: str, chunks: Iterable[bytes], headers: dict[str, str] | None = None) -> None:
        path, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
        }
        self.sent: list[dict[str, Any]] = []
        self.num_chunks_read = 0
        self._app = app
        self._chunks = list(chunks)
        self._has_left = asyncio.Event()
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Serves the request to its end."""
        await self._app(self.scope, self._receive, self._send)

    def leave(self) -> None:
        """Closes the connection from the caller's side."""
        self._has_left.set()

    async def wait_for_lines(self, num_lines: int) -> list[Any]:
        """Waits until so many lines have come, and reads them."""
        async with self._news:
            await self._news.wait_for(lambda: self.body.count(b"\n") >= num_lines)
        return self.lines

    @property
    def body(self) -> bytes:
        """Everything received so far."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def lines(self) -> list[Any]:
        """The complete lines received so far."""
        return [json.loads(line) for line in self.body.split(b"\n")[:-1]]

    @property
    def status(self) -> int:
        """The status received."""
        status: int = self.sent[0]["status"]
        return status

    @property
    def is_complete(self) -> bool:
        """Whether the reply came to its regular end."""
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    async def _receive(self) -> dict[str, Any]:
        if self._chunks:
            self.num_chunks_read += 1
            return {"type": "http.request", "body": self._chunks.pop(0), "more_body": bool(self._chunks)}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        async with self._news:
            self.sent.append(message)
            self._news.notify_all()


async def settle() -> None:
    """Lets every task that can run do so: enough turns of the loop for the deepest chain of callbacks here."""
    for _ in range(50):
        await asyncio.sleep(0)


def settings(**changes: object) -> Settings:
    """Settings with some changes."""
    return Settings(**changes)  # type: ignore[arg-type]

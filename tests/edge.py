"""The HTTP edge without sockets: connections fed with bytes, over an app that notes what comes."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from service.cli.turnstile import Connection, Turnstile


class Wire(asyncio.Transport):
    """The transport under a connection: remembers what was written and done."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.is_closed = False
        self.is_reading = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Edge:
    """Connections to an app that notes each request and the turn it came at, and answers with its body."""

    def __init__(self) -> None:
        self.turn = 0
        self.came: list[tuple[str, int]] = []
        self.scopes: list[Any] = []
        self.num_left = 0
        self.turnstile = Turnstile()
        self.state = ServerState()
        self.config = uvicorn.Config(self.app, interface="asgi3", log_config=None)
        self.config.load()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.came.append((scope["path"], self.turn))
        self.scopes.append(scope)
        body, more_body = b"", scope["method"] == "POST"
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.num_left += 1
                return
            body, more_body = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    def connect(self) -> tuple[Connection, Wire]:
        connection = Connection(self.turnstile, config=self.config, server_state=self.state, app_state={})
        wire = Wire()
        connection.connection_made(wire)
        return connection, wire

    async def turns(self, number: int) -> None:
        for _ in range(number):
            self.turn += 1
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Lets everyone in and everything end."""
        await self.turns(200)
        for connection in list(self.state.connections):
            connection._unset_keepalive_if_required()
        await asyncio.gather(*self.state.tasks)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.came]

"""Replies leave in one piece, in order, whole, and no later than the connection's end."""

import asyncio

import pytest

from service.cli.one_write import FLUSH_BYTES, OneWrite


class Wire(asyncio.Transport):
    """Keeps what was written, call by call."""

    def __init__(self):
        super().__init__()
        self.writes, self.is_over = [], False

    def write(self, data):
        assert not self.is_over
        self.writes.append(bytes(data))

    def close(self):
        self.is_over = True

    abort = close

    def is_closing(self):
        return self.is_over


@pytest.fixture
async def wire():
    return Wire()


@pytest.fixture
async def transport(wire):
    return OneWrite(wire, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_leaves_as_one(wire, transport):
    for part in (b"head", b"", b"body"):
        transport.write(part)
    assert wire.writes == []
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)

    assert wire.writes == [b"headbody", b"next"]


async def test_closing_writes_what_is_left_first(wire, transport):
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)

    assert (wire.writes, wire.is_over) == ([b"last words"], True)


@pytest.mark.parametrize("end", ["abort", "break"])
async def test_nothing_is_written_to_a_broken_connection(wire, transport, end):
    transport.write(b"unheard")
    transport.abort() if end == "abort" else wire.close()
    await asyncio.sleep(0)

    assert wire.writes == []


async def test_much_is_handed_on_at_once(wire, transport):
    transport.write(b"x" * FLUSH_BYTES)
    assert wire.writes == []
    transport.write(b"y")

    assert wire.writes == [b"x" * FLUSH_BYTES + b"y"]

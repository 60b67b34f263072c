"""Cuts a byte stream into lines at newlines only.

`str.splitlines` (and httpx's own line reader) also cut at U+2028 and others, which JSON text may hold.
"""

from __future__ import annotations


class LineBuffer:
    """Bytes go in as they come, whole lines come out; a last line without newline comes out at `flush`."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the lines that `data` completes, without their newlines; blank lines are left out."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line for line in lines if line.strip()]

    def flush(self) -> list[bytes]:
        """Returns what is left after the last newline, if anything is."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []

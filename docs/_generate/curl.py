"""Reads a curl command of the documentation, so that what a reader types is what was executed.

Only the few options that the pages use are known; any other stops the generator instead of being ignored.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from docs._generate.page import Block, PageError

BASE_URL = "http://127.0.0.1:8000"
"""Where `reward-server serve` listens when nothing else is said."""

_COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_WITHOUT_EFFECT = ("-s", "-sS", "-N", "-sN")
"""Progress bar and buffering: they change nothing of what is sent."""

FORM_TYPE = "application/x-www-form-urlencoded"
"""What curl says of a body given by `-d` unless told otherwise; the server reads it as JSON all the same."""


@dataclass(frozen=True, slots=True)
class Command:
    """One request as curl would send it.

    Attributes:
        shows_head: Whether status and headers are shown (`-i`).
        path: Fields that jq picks from the reply, outermost first; empty for all of it.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str | None
    shows_head: bool
    path: tuple[str, ...]


def command_above(block: Block) -> Command:
    """The command of the last `sh` block before a generated one.

    Raises:
        PageError: If there is none, or it cannot be read.
    """
    found = _COMMANDS.findall(block.before)
    if not found:
        raise PageError(f"line {block.line}: no ```sh block above")
    try:
        return parse(found[-1])
    except ValueError as error:
        raise PageError(f"line {block.line}: {error}") from error


def parse(text: str) -> Command:
    """Reads one command, `curl OPTIONS URL`, with `| jq` or `| jq .FIELD` after it.

    Raises:
        ValueError: If it is anything else.
    """
    words = shlex.split(text.replace("\\\n", " "))
    pipe = words.index("|") if "|" in words else len(words)
    given, path = words[1:pipe], _jq_path(words[pipe + 1 :])
    if words[:1] != ["curl"]:
        raise ValueError(f"not a curl command: {text!r}")
    method, target, body, shows_head = None, None, None, False
    headers: list[tuple[str, str]] = []
    rest = iter(given)
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers.append((name, value))
        elif word == "-d":
            body = next(rest)
        elif word in ("-i", "-si"):
            shows_head = True
        elif word.startswith(BASE_URL):
            target = word.removeprefix(BASE_URL)
        elif word not in _WITHOUT_EFFECT:
            raise ValueError(f"{word!r} is no option that the generator knows")
    if target is None:
        raise ValueError(f"no address that begins with {BASE_URL}")
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", FORM_TYPE))
    return Command(method or ("GET" if body is None else "POST"), target, tuple(headers), body, shows_head, path)


def _jq_path(words: list[str]) -> tuple[str, ...]:
    if words in ([], ["jq"]):
        return ()
    if len(words) != 2 or words[0] != "jq" or not re.fullmatch(r"(\.\w+)+", words[1]):
        raise ValueError(f"after the pipe only jq and jq .FIELD are known, not {' '.join(words)!r}")
    return tuple(words[1].split(".")[1:])

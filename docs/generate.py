"""Rewrites the generated blocks of the pages in `docs/`, or says which of them are no longer true.

    python -m docs.generate            # make docs
    python -m docs.generate --check    # part of make check, and of the tests

Pages are written by hand around marked blocks (`docs._generate.page`); each kind of block has one renderer here.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from docs._generate import errors, fields, models, replies, running
from docs._generate.page import Renderer, rewrite

FOLDER: Final = Path(__file__).parent

PAGES: Final = ("api.md", "models.md", "operations.md")
"""Pages with generated blocks."""

RENDERERS: Final[Mapping[str, Renderer]] = {
    "routes": fields.routes,
    "fields": fields.fields,
    "reply": replies.reply,
    "errors": errors.errors,
    "catalogue": models.catalogue_table,
    "settings": running.settings,
    "metrics": running.metrics,
    "log": running.log,
    "help": running.help_text,
}
"""Who fills which block."""


def main(arguments: list[str] | None = None) -> int:
    """Writes the pages, or compares them; returns the exit status, 1 if a page is out of date."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a page would change")
    is_check = parser.parse_args(arguments).check
    changes = [differences(FOLDER / name, rewrite_page=not is_check) for name in PAGES]
    if is_check and any(changes):
        sys.stderr.write("".join(changes) + "\nthe pages above are out of date; run: make docs\n")
        return 1
    return 0


def differences(path: Path, *, rewrite_page: bool = False) -> str:
    """What changes in a page, as a unified diff; empty if all of it is true. Writes it only if told to."""
    old = path.read_text(encoding="utf-8")
    new = rewrite(old, RENDERERS)
    if rewrite_page and new != old:
        path.write_text(new, encoding="utf-8")
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"docs/{path.name}", "generated")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())

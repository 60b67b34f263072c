"""The table of docs/models.md that says, entry by entry, what the catalogue's tests show.

    python -m tests.catalogue.proof     # writes it anew

A test compares it with what is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.catalogue import starling_reference
from tests.catalogue.all_references import MODULES
from tests.catalogue.reference import Reference

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- proof: python -m tests.catalogue.proof -->\n", "<!-- end of proof -->"


def table() -> str:
    """The table, as it must stand in the page."""
    lines = [
        "| entries | reference | several turns | longer than it takes | each tensor harmed |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in sorted(set(_rows())))]) + "\n"


def _rows() -> Iterator[tuple[str, ...]]:
    for module in MODULES:
        for reference in module.REFERENCES:
            yield _row(reference, Path(module.__file__ or "").name)
    yield "`demo`", "trained here", "scored", "refused", "-"


def _row(reference: Reference, file: str) -> tuple[str, ...]:
    is_starling = reference in starling_reference.REFERENCES
    return (
        ", ".join(f"`{entry}`" for entry in reference.entries),
        f"`{file}`",
        "scored" if reference.takes_turns else "refused",
        f"cut at {reference.max_tokens}" if reference.max_tokens else "refused",
        "`test_starling.py`" if is_starling else "`test_entries.py`",
    )


def page_with(text: str, new_table: str) -> str:
    """A page's text with the table put in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + new_table + END + after


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")

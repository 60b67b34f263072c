"""docs/models.md lists what the catalogue's tests show, and nothing else."""

from __future__ import annotations

from tests.catalogue import proof


def test_the_page_lists_what_is_run() -> None:
    text = proof.PAGE.read_text(encoding="utf-8")

    assert proof.BEGIN in text, f"{proof.PAGE} has no place for the table"
    assert proof.page_with(text, proof.table()) == text, "run: python -m tests.catalogue.proof"

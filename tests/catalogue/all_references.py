"""Every reference there is: what the catalogue's tests run through, and what docs/models.md lists as proof."""

from __future__ import annotations

from tests.catalogue import (
    head_references,
    more_references,
    seqcls_references,
    starling_reference,
    step_references,
    urm_references,
)
from tests.catalogue.reference import Reference

MODULES = (
    seqcls_references,
    head_references,
    step_references,
    more_references,
    urm_references,
    starling_reference,
)

REFERENCES: tuple[Reference, ...] = tuple(reference for module in MODULES for reference in module.REFERENCES)

TESTED_ELSEWHERE = frozenset({"demo"})
"""Entries with tests of their own: end_to_end/test_demo.py."""

"""References whose padded rows take seconds each are run in full by `make test-long` alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.catalogue.reference import Reference

QUICK = frozenset(
    {
        "test_a_short_pair_scores_as_the_authors_padded_row",
        "test_alone_and_in_company_the_bits_are_the_same",
        "test_entries_that_share_a_reference_are_read_alike",
    }
)
"""What `make test` runs of a slow reference."""


@pytest.hookimpl(tryfirst=True)  # before the marks are selected by
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if _is_of_a_slow_reference(item) and getattr(item, "originalname", "") not in QUICK:
            item.add_marker(pytest.mark.long)


def _is_of_a_slow_reference(item: pytest.Item) -> bool:
    given = getattr(item, "callspec", None)
    return given is not None and any(isinstance(one, Reference) and one.is_slow for one in given.params.values())

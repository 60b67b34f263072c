"""The worked examples in docstrings are true."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from service.tokenization import cuts, folder, readout, rendering, tokenized


@pytest.mark.parametrize("module", [cuts, folder, readout, rendering, tokenized], ids=lambda module: module.__name__)
def test_worked_examples_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.attempted > 0
    assert result.failed == 0

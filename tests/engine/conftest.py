"""A warm engine of each family in each dtype."""

import pytest

from tests.engine.models import CONFIGS, DTYPES, Served, served


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=CONFIGS)
def model(request, dtype) -> Served:
    return served(request.param, dtype)

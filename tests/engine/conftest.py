"""A warm engine of each family in each dtype."""

import pytest

from tests.engine.models import CONFIGS, DTYPES, Served, empty, served


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=CONFIGS)
def model(request, dtype) -> Served:
    return served(request.param, dtype)


@pytest.fixture
def emptied(model):
    """Slots are numbered anew by each directory: nothing of an earlier one may be left in the engine."""
    yield
    empty(model.engine)

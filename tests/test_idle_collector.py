import gc
import weakref

import pytest

from service.cli.idle_collector import IdleCollector


class InACycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def garbage():
    """A cycle that nobody holds, while Python's collector does not come by itself."""
    gc.disable()
    yield weakref.ref(InACycle())
    gc.enable()


@pytest.mark.parametrize(
    ("num_requests", "num_under_way", "is_collected"), [(1, 0, True), (1, 1, False), (0, 0, False)]
)
def test_garbage_goes_after_requests_and_when_none_is_under_way(garbage, num_requests, num_under_way, is_collected):
    IdleCollector().look(num_requests, num_under_way)

    assert (garbage() is None) == is_collected


def test_it_does_not_look_again_before_the_next_request(garbage):
    collector = IdleCollector()
    collector.look(1, 0)
    later = weakref.ref(InACycle())

    collector.look(1, 0)
    assert later() is not None

    collector.look(2, 0)
    assert later() is None

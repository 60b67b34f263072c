"""Who is told, in which order, and what one that fails costs the others."""

from __future__ import annotations

import pytest

from service.observability.events import Event, FrameRun, RequestRefused
from service.observability.observers import MOST_HELD_BACK, FanOut, HeldBack, RecordingObserver
from service.types import ModelId

EVENT = FrameRun(ModelId("demo"), 1, 2, 4, 0.5)


class Failing:
    def notify(self, event: Event) -> None:
        raise RuntimeError("disk full")


def test_everyone_is_told() -> None:
    first, second = RecordingObserver(), RecordingObserver()
    FanOut([first, second]).notify(EVENT)

    assert first.events == second.events == [EVENT]


def test_an_observer_that_fails_is_logged_and_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    hearing = RecordingObserver()
    FanOut([Failing(), hearing]).notify(EVENT)

    assert hearing.events == [EVENT]
    assert "Failing failed on FrameRun" in caplog.text


def test_recorded_events_can_be_asked_for_by_kind() -> None:
    observer = RecordingObserver()
    observer.notify(EVENT)

    assert observer.of_type(FrameRun) == [EVENT]
    assert observer.of_type(RequestRefused) == []


def test_what_is_held_back_is_told_once_and_in_order_when_it_is_let_go() -> None:
    observer = RecordingObserver()
    held_back = HeldBack(observer)
    events = [FrameRun(ModelId("demo"), number, 2, 4, 0.5) for number in range(3)]
    for event in events:
        held_back.notify(event)
    assert observer.events == []

    held_back.let_go()
    held_back.let_go()
    assert observer.events == events


def test_many_events_are_not_held_back() -> None:
    observer = RecordingObserver()
    held_back = HeldBack(observer)
    for _ in range(MOST_HELD_BACK):
        held_back.notify(EVENT)

    assert observer.events == [EVENT] * MOST_HELD_BACK

from service.dispatch.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_frame_is_expected_to_go_as_the_one_before_it_did():
    clock = Clock()
    pace = Pace(clock)
    assert pace.left_s() == 0.0

    first = pace.hand_over(1000)
    assert pace.left_s() == 0.0
    clock.now_s += 0.5
    assert pace.note_done(first) == 0.5

    pace.hand_over(2000)
    assert pace.left_s() == 1.0
    clock.now_s += 0.75
    assert pace.left_s() == 0.25
    clock.now_s += 0.75
    assert pace.left_s() == 0.0


def test_a_frame_that_waits_for_another_begins_when_that_one_is_done():
    clock = Clock()
    pace = Pace(clock)
    first = pace.hand_over(1000)
    clock.now_s += 0.375
    second = pace.hand_over(1000)
    clock.now_s += 0.125
    assert pace.note_done(first) == 0.5
    assert pace.left_s() == 0.5

    clock.now_s += 0.25
    assert pace.left_s() == 0.25
    assert pace.note_done(second) == 0.25
    assert pace.left_s() == 0.0


def test_with_several_lanes_frames_begin_at_once_and_end_in_any_order():
    clock = Clock()
    pace = Pace(clock, num_lanes=2)
    pace.note_done(pace.hand_over(1))
    long, short, waiting = pace.hand_over(2000), pace.hand_over(1000), pace.hand_over(500)
    clock.now_s += 1.0
    assert pace.note_done(short) == 1.0, "1 ms a token from here on; what waited begins"
    assert pace.left_s() == 0.5

    clock.now_s += 0.5
    assert pace.note_done(waiting) == 0.5
    assert pace.left_s() == 0.5
    clock.now_s += 0.5
    assert pace.note_done(long) == 2.0

import pytest

from service.errors import Overloaded
from service.scheduling.admission import MAX_RETRY_AFTER_S, Admission, DrainRate, QueueLimits


def test_a_burst_within_the_limits_is_admitted():
    admission = Admission(QueueLimits(max_tokens=100, max_pairs=10))
    for _ in range(10):
        admission.admit(1, 10)

    assert (admission.num_pairs, admission.num_tokens) == (10, 100)


@pytest.mark.parametrize(("pairs", "tokens"), [(1, 51), (10, 1)], ids=["tokens", "pairs"])
def test_beyond_the_limits_nothing_is_reserved_and_the_reply_says_what_is_allowed(pairs, tokens):
    admission = Admission(QueueLimits(max_tokens=100, max_pairs=10))
    admission.admit(1, 50)

    with pytest.raises(Overloaded, match="allowed are 10 pairs and 100 tokens") as refused:
        admission.admit(pairs, tokens)

    assert (admission.num_pairs, admission.num_tokens) == (1, 50)
    assert refused.value.retry_after_s >= 1


def test_a_request_larger_than_the_whole_queue_is_admitted_when_it_is_alone():
    admission = Admission(QueueLimits(max_tokens=100, max_pairs=10))
    admission.admit(50, 5000)

    with pytest.raises(Overloaded):
        admission.admit(1, 1)


def test_corrected_and_released_room_can_be_used_again():
    admission = Admission(QueueLimits(max_tokens=100, max_pairs=10))
    admission.admit(2, 90)
    admission.correct(90, 20)
    admission.admit(8, 80)
    admission.release(10, 100)

    assert (admission.num_pairs, admission.num_tokens) == (0, 0)


def test_retry_after_follows_the_drain_rate():
    admission = Admission(QueueLimits(max_tokens=1000, max_pairs=10), drain=DrainRate(tokens_per_s=100.0))
    admission.admit(1, 1000)
    with pytest.raises(Overloaded) as soon:
        admission.admit(1, 1)
    admission.drain.tokens_per_s = 1.0
    with pytest.raises(Overloaded) as late:
        admission.admit(1, 1)

    assert soon.value.retry_after_s == 5
    assert late.value.retry_after_s == MAX_RETRY_AFTER_S


def test_the_drain_rate_settles_at_the_rate_it_sees():
    drain = DrainRate()
    for second in range(200):
        drain.note(500, float(second))

    assert drain.tokens_per_s == pytest.approx(500, rel=1e-3)  # what is left of the start after 40 half-lives is less

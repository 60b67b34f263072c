"""Cuts the line of waiting pairs into requests, by count and by bytes; groups stay whole where they can.

Arithmetic on a deque and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from reward_client._pairs import EncodedPair
from reward_client._settings import Limits


def take_request(waiting: deque[EncodedPair], limits: Limits) -> list[EncodedPair]:
    """Takes the next request's pairs from the front of `waiting`, which is modified.

    At least one pair is taken. If the limit falls inside a group (consecutive pairs with the same prompt)
    that did not begin the request, the request ends before that group.
    """
    front = list(islice(waiting, limits.max_pairs + 1))
    num_taken = _whole_groups(front, _num_fitting(front, limits))
    return [waiting.popleft() for _ in range(num_taken)]


def _num_fitting(front: Sequence[EncodedPair], limits: Limits) -> int:
    num_bytes = 0
    for num_fitting, pair in enumerate(front):
        num_bytes += len(pair.body) + 1
        if num_fitting == limits.max_pairs or (num_fitting > 0 and num_bytes > limits.max_bytes):
            return num_fitting
    return len(front)


def _whole_groups(front: Sequence[EncodedPair], num_fitting: int) -> int:
    if num_fitting == len(front):
        return num_fitting
    start = num_fitting
    while start > 0 and front[start - 1].group == front[num_fitting].group:
        start -= 1
    return start or num_fitting

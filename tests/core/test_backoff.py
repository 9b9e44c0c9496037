"""Waiting: longer each time, never without end, and never in step with others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.backoff import backoff

failures = st.integers(1, 40) | st.integers(1, 10**9)


@given(failures, st.none() | st.floats(0, 1e5))
def test_doubled_up_to_the_longest_with_a_fifth_of_jitter(count, after):
    wait, middle = backoff(count, after=after), min(300.0, 2.0 ** min(count - 1, 30))
    assert max(middle * 0.8, after or 0) <= wait <= max(middle * 1.2, after or 0)


@given(failures, st.floats(0.01, 10), st.floats(0.01, 3600))
def test_with_other_bounds(count, first, longest):
    wait, middle = backoff(count, first=first, longest=longest), min(longest, first * 2.0 ** min(count - 1, 30))
    assert middle * 0.79 <= wait <= middle * 1.21


@given(failures)
def test_what_was_asked_for_is_the_least(count):
    assert backoff(count, after=1000) == 1000


@pytest.mark.parametrize("count", [1, 4, 100])
def test_those_who_fail_together_do_not_try_again_together(count):
    assert len({backoff(count) for _ in range(20)}) > 10

"""Laws of `clusters.limits`."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters.limits import CircuitLimits
from sidecar.config.model import CircuitBreakers


def test_three_retries_may_run_however_few_requests_there_are() -> None:
    limits = CircuitLimits(CircuitBreakers())
    assert [limits.begin_retry(1) for _ in range(4)] == [True, True, True, False]


def test_a_fifth_of_the_requests_in_flight_may_be_retries() -> None:
    limits = CircuitLimits(CircuitBreakers())
    assert sum(limits.begin_retry(100) for _ in range(100)) == 20


def test_a_retry_that_ended_makes_room_for_another() -> None:
    limits = CircuitLimits(CircuitBreakers(min_retry_concurrency=1))
    assert limits.begin_retry(1)
    assert not limits.retry_allowed(1)
    limits.end_retry()
    assert limits.retry_allowed(1)


def test_new_limits_keep_running_retries_counted() -> None:
    limits = CircuitLimits(CircuitBreakers())
    limits.begin_retry(1)
    limits.reconfigure(CircuitBreakers(max_requests=7, min_retry_concurrency=1))
    assert limits.max_requests == 7
    assert not limits.retry_allowed(1)


@given(
    percent=st.floats(0, 100),
    least=st.integers(0, 10),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 500))),
)
def test_retries_never_exceed_the_budget_at_the_moment_they_begin(
    percent: float, least: int, steps: list[tuple[bool, int]]
) -> None:
    limits = CircuitLimits(CircuitBreakers(retry_budget_percent=percent, min_retry_concurrency=least))
    for begin, inflight in steps:
        if begin and limits.begin_retry(inflight):
            assert limits.retries <= max(least, percent * inflight / 100)
        elif not begin and limits.retries:
            limits.end_retry()
        assert limits.retries >= 0

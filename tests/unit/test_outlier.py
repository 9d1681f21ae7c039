"""Laws of `clusters.outlier`: what counts as a failure, when an endpoint goes, for how long, and how it comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters import outlier
from sidecar.clusters.outcome import Cancelled, ConnectFailed, Outcome, ProtocolBroken, Reset, Responded, TimedOut
from sidecar.clusters.outlier import Health
from sidecar.config.model import Duration, OutlierDetection
from sidecar.model import Address

A = Address("10.0.0.1", 80)
SPEC = OutlierDetection()
OK = Responded(200, 0.01)


def count(outcome: Outcome, times: int, spec: OutlierDetection = SPEC, health: Health | None = None) -> list[bool]:
    """Record it so often; whether an ejection was due each time."""
    health = health or Health()
    return [outlier.record(spec, health, outcome) is not None for _ in range(times)]


@pytest.mark.parametrize(
    "outcome",
    [ConnectFailed(), ConnectFailed(timeout=True), TimedOut(), Reset(), ProtocolBroken()]
    + [Responded(status, 0.001) for status in (502, 503, 504)],
)
def test_three_gateway_failures_in_a_row_are_an_ejection(outcome: Outcome) -> None:
    assert count(outcome, 3) == [False, False, True]


@pytest.mark.parametrize("status", [500, 501, 505, 599])
def test_five_other_server_errors_in_a_row_are_an_ejection(status: int) -> None:
    assert count(Responded(status, 0.001), 5) == [False, False, False, False, True]


@pytest.mark.parametrize("status", [200, 204, 301, 404, 429, 499])
def test_answers_below_500_are_no_failures(status: int) -> None:
    assert count(Responded(status, 0.001), 20) == [False] * 20
    assert not outlier.is_failure(Responded(status, 0.001))


def test_client_abort_blames_no_endpoint() -> None:
    assert count(Cancelled(), 20) == [False] * 20
    assert not outlier.is_failure(Cancelled())


def test_client_abort_clears_no_endpoint_either() -> None:
    health = Health()
    count(TimedOut(), 2, health=health)
    count(Cancelled(), 5, health=health)
    assert count(TimedOut(), 1, health=health) == [True]


def test_a_good_answer_ends_the_row() -> None:
    health = Health()
    count(Reset(), 2, health=health)
    outlier.record(SPEC, health, OK)
    assert count(Reset(), 3, health=health) == [False, False, True]


def test_a_500_ends_the_row_of_gateway_failures_but_not_of_failures() -> None:
    health = Health()
    count(TimedOut(), 2, health=health)
    count(Responded(500, 0.001), 1, health=health)
    assert count(TimedOut(), 2, health=health) == [False, True]


def test_nothing_is_ejected_where_detection_is_off() -> None:
    assert count(ConnectFailed(), 20, OutlierDetection(enabled=False)) == [False] * 20


def test_an_endpoint_that_returns_still_failing_goes_on_its_first_failure() -> None:
    health = Health()
    outlier.eject(SPEC, health, A, "bad", now=0)
    outlier.restore(health, now=30)
    reason = outlier.record(SPEC, health, Responded(500, 0.001))
    assert reason == "still failing after its return: status 500"


def test_one_good_answer_ends_probation() -> None:
    health = Health()
    outlier.eject(SPEC, health, A, "bad", now=0)
    outlier.restore(health, now=30)
    outlier.record(SPEC, health, OK)
    assert count(ConnectFailed(), 3, health=health) == [False, False, True]


def test_each_ejection_in_a_row_lasts_longer_up_to_the_maximum() -> None:
    health, now, durations = Health(), 0.0, []
    for _ in range(12):
        ejection = outlier.eject(SPEC, health, A, "bad", now)
        durations.append(ejection.duration)
        assert ejection.until == now + ejection.duration
        now = ejection.until
        outlier.restore(health, now)
    assert durations == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_healthy_time_shortens_the_row() -> None:
    health = Health()
    for now in (0, 100, 200):
        outlier.eject(SPEC, health, A, "bad", now)
        outlier.restore(health, now + 10)
    assert health.count == 1  # 90 s well between two: three times the base
    outlier.eject(SPEC, health, A, "bad", 220)
    assert health.count == 2


def test_the_ejection_says_what_happened() -> None:
    health = Health()
    ejection = outlier.eject(SPEC, health, A, "3 gateway failures in a row, the last: timeout", now=7)
    assert (ejection.address, ejection.reason, ejection.until, ejection.count) == (A, health.reason, 37, 1)


@pytest.mark.parametrize(
    ("total", "percent", "allowed"),
    [
        (0, 50, 0),
        (1, 100, 0),
        (2, 50, 1),
        (2, 10, 1),
        (2, 100, 1),
        (3, 50, 1),
        (4, 50, 2),
        (10, 50, 5),
        (10, 100, 9),
        (10, 0, 1),
    ],
)
def test_how_many_may_be_out(total: int, percent: int, allowed: int) -> None:
    assert outlier.allowance(OutlierDetection(max_ejection_percent=percent), total) == allowed


@given(st.integers(0, 2000), st.integers(0, 100))
def test_never_are_all_out_and_the_percentage_is_kept_from_two_on(total: int, percent: int) -> None:
    allowed = outlier.allowance(OutlierDetection(max_ejection_percent=percent), total)
    assert 0 <= allowed < max(total, 1)
    assert allowed <= max(1, total * percent / 100)


def ejected_until(until: float) -> Health:
    health = Health()
    health.until = until
    return health


def test_ejections_end_when_their_time_is_over() -> None:
    first, second = ejected_until(30), ejected_until(31)
    assert outlier.due(SPEC, [first, second], 10, now=29.9) == []
    assert outlier.due(SPEC, [first, second], 10, now=30) == [first]
    assert outlier.due(SPEC, [first, second], 10, now=31) == [second, first]


def test_too_many_ejections_for_a_set_that_shrank_end_early_the_nearest_to_its_end_first() -> None:
    out = [ejected_until(until) for until in (40, 60, 50)]
    assert outlier.due(SPEC, out, 4, now=0) == [out[0]]
    assert outlier.due(SPEC, out, 2, now=0) == [out[2], out[0]]
    assert len(outlier.due(SPEC, out, 1, now=0)) == 3


def test_all_ejections_end_when_detection_is_switched_off() -> None:
    out = [ejected_until(40)]
    assert outlier.due(OutlierDetection(enabled=False), out, 10, now=0) == out


@given(st.lists(st.floats(0, 100)), st.integers(0, 50), st.integers(0, 100), st.floats(0, 100))
def test_ejections_that_go_on_are_never_too_many_and_never_overdue(
    ends: list[float], more: int, percent: int, now: float
) -> None:
    spec = OutlierDetection(max_ejection_percent=percent)
    out = [ejected_until(end) for end in ends]
    total = len(out) + more
    ended = outlier.due(spec, out, total, now)
    kept = [health for health in out if health not in ended]
    assert len(kept) <= outlier.allowance(spec, total)
    assert all(health.until is not None and health.until > now for health in kept)


@pytest.mark.parametrize(("healthy", "total", "panic"), [(2, 10, True), (3, 10, False), (0, 0, False), (0, 1, True)])
def test_panic_is_fewer_than_the_threshold(healthy: int, total: int, panic: bool) -> None:
    assert outlier.in_panic(SPEC, healthy, total) is panic


def test_every_outcome_has_words() -> None:
    outcomes = [OK, ConnectFailed(), ConnectFailed(timeout=True), TimedOut(), Reset(), ProtocolBroken(), Cancelled()]
    assert [outlier.describe(outcome) for outcome in outcomes] == [
        "status 200", "connect failed", "connect timeout", "timeout",
        "connection reset", "broken response", "client went away",
    ]  # fmt: skip


def test_a_base_time_of_zero_is_no_crash() -> None:
    spec = OutlierDetection(base_ejection_time=Duration(0))
    health = Health()
    outlier.eject(spec, health, A, "bad", now=5)
    outlier.restore(health, now=5)
    assert outlier.eject(spec, health, A, "bad", now=6).duration == 0

"""Laws of `clusters.cluster` and `clusters.members`: leases, outcomes, updates, ejections, slow start, views."""

import json
import logging
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters import outlier
from sidecar.clusters.cluster import Cluster, Lease
from sidecar.clusters.outcome import Cancelled, ConnectFailed, Outcome, Reset, Responded, TimedOut
from sidecar.config import model as config
from sidecar.config.model import CircuitBreakers, Duration, HashPolicy, OutlierDetection
from sidecar.errors import NoHealthyEndpoint, UpstreamOverflow
from sidecar.model import Address, Endpoint
from tests.support.clusters import Clock, CountingPool, address, attempt, cluster, endpoints, request

OK = Responded(200, 0.01)
A, B, C = address(0), address(1), address(2)


def fail_until_ejected(of: Cluster, bad: Address) -> outlier.Ejection:
    """Let every attempt on `bad` fail until that ejects it; others succeed."""
    others = [at for at in of.members.hosts if at != bad]
    for _ in range(20):
        at, ejection = attempt(of, ConnectFailed(), tried=others)
        assert at == bad
        if ejection:
            return ejection
    raise AssertionError("never ejected")


def used(of: Cluster, number: int = 60) -> set[Address]:
    return {attempt(of, OK)[0] for _ in range(number)}


def row(of: Cluster, at: Address) -> dict[str, object]:
    return next(dict(each) for each in of.view()["endpoints"] if each["address"] == str(at))


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_lease_counts_as_in_flight_until_it_is_released_and_once_only() -> None:
    of = cluster(Clock(), endpoints(1))
    first, second = of.lease(request()), of.lease(request())
    assert (of.inflight, first.host.inflight) == (2, 2)
    first.finish(OK)
    assert of.inflight == 2, "the response body still runs"
    first.release()
    first.release()
    assert (of.inflight, second.host.inflight) == (1, 1)
    second.release()
    assert of.inflight == 0


def test_only_the_first_finish_counts() -> None:
    of = cluster(Clock(), endpoints(1))
    lease = of.lease(request())
    lease.finish(OK)
    assert [lease.finish(Reset()) for _ in range(5)] == [None] * 5
    lease.release()
    assert row(of, A)["failures"] == 0


def test_a_release_without_finish_counts_as_cancelled() -> None:
    of = cluster(Clock(), endpoints(1))
    lease = of.lease(request())
    lease.release()
    assert lease.finish(Reset()) is None
    assert (row(of, A)["requests"], row(of, A)["failures"], row(of, A)["latency"]) == (1, 0, None)


def test_client_abort_blames_no_endpoint() -> None:
    of = cluster(Clock(), endpoints(2))
    for _ in range(50):
        attempt(of, Cancelled())
    assert used(of) == {A, B}
    assert all(each["failures"] == 0 and each["score"] == pytest.approx(0.01) for each in of.view()["endpoints"])


def test_a_retry_goes_to_an_endpoint_that_was_not_tried() -> None:
    of = cluster(Clock(), endpoints(3))
    assert {attempt(of, OK, tried=[A, B])[0] for _ in range(20)} == {C}


def test_a_retry_goes_back_to_a_tried_endpoint_where_all_were_tried() -> None:
    of = cluster(Clock(), endpoints(2))
    assert attempt(of, OK, tried=[A, B])[0] in {A, B}
    assert attempt(cluster(Clock(), endpoints(1)), OK, tried=[A])[0] == A


def test_the_caller_can_ask_whether_an_untried_endpoint_is_left() -> None:
    of = cluster(Clock(), endpoints(2))
    assert of.has_untried([A])
    assert not of.has_untried([A, B])


def test_the_first_request_beyond_the_limit_is_refused_at_once() -> None:
    of = cluster(Clock(), endpoints(3), circuit_breakers=CircuitBreakers(max_requests=2))
    held = [of.lease(request()) for _ in range(2)]
    with pytest.raises(UpstreamOverflow, match="cluster shop: 2 requests in flight, max_requests is 2"):
        of.lease(request())
    held[0].release()
    of.lease(request())


def test_the_retry_budget_follows_the_requests_in_flight() -> None:
    of = cluster(Clock(), endpoints(3))
    held = [of.lease(request()) for _ in range(50)]
    assert sum(of.begin_retry() for _ in range(50)) == 10
    assert not of.retry_allowed()
    of.end_retry()
    assert of.retry_allowed()
    for lease in held:
        lease.release()
    assert not of.retry_allowed()


# --- nobody there -----------------------------------------------------------------------------------------------------


def unlisted() -> Cluster:
    spec = config.Cluster(name="shop")
    return Cluster(spec, pools=lambda _: CountingPool(), now=Clock(), rng=random.Random(1))


def test_the_refusal_says_that_no_list_came_yet() -> None:
    with pytest.raises(NoHealthyEndpoint, match="cluster shop: no list of endpoints yet"):
        unlisted().lease(request())


def test_the_refusal_says_why_there_are_no_endpoints() -> None:
    of = cluster(Clock())
    with pytest.raises(NoHealthyEndpoint, match=r"cluster shop has no endpoints$"):
        of.lease(request())
    of.update((), problem="forbidden: cannot list endpointslices", origin="kubernetes")
    with pytest.raises(NoHealthyEndpoint, match="has no endpoints: forbidden: cannot list endpointslices"):
        of.lease(request())


def test_the_refusal_says_that_none_is_ready() -> None:
    of = cluster(Clock(), endpoints(2, ready=False))
    with pytest.raises(NoHealthyEndpoint, match="none of 2 endpoints is ready"):
        of.lease(request())
    assert of.explain(request())["why"] == "cluster shop: none of 2 endpoints is ready"


# --- updates ----------------------------------------------------------------------------------------------------------


def test_an_update_keeps_the_state_of_endpoints_that_stay_and_takes_their_new_words() -> None:
    of = cluster(Clock(), endpoints(2))
    attempt(of, OK, tried=[B])
    of.update((Endpoint(address=A, zone="z"), Endpoint(address=C)), origin="watch")
    assert (row(of, A)["requests"], row(of, A)["zone"]) == (1, "z")
    assert set(of.members.hosts) == {A, C}
    assert of.origin == "watch"


def test_pools_of_endpoints_that_went_are_closed_and_leases_on_them_stay_valid() -> None:
    of = cluster(Clock(), endpoints(2))
    lease = of.lease(request(), tried=[B])
    kept = of.members.hosts[B].pool
    of.update((Endpoint(address=B),))
    assert (lease.host.pool.closed, kept.closed) == (1, 0)  # type: ignore[attr-defined]  # a CountingPool
    assert used(of) == {B}
    for _ in range(5):
        assert lease.finish(ConnectFailed()) is None
    lease.release()
    assert (of.inflight, lease.host.inflight) == (0, 0)


def test_an_endpoint_that_left_is_not_ejected_nor_does_its_successor_inherit_the_blame() -> None:
    of = cluster(Clock(), endpoints(2))
    leases = [of.lease(request(), tried=[B]) for _ in range(5)]
    of.update((Endpoint(address=B),))
    of.update(endpoints(2))
    assert [lease.finish(ConnectFailed()) for lease in leases] == [None] * 5
    assert used(of) == {A, B}


def test_the_same_list_again_changes_nothing() -> None:
    of = cluster(Clock(), endpoints(2))
    used(of)
    of.update(endpoints(2), problem="watch is down")
    assert of.members.next_change > 0
    assert of.problem == "watch is down"


def test_close_closes_every_pool_once_and_ends_leasing() -> None:
    of = cluster(Clock(), endpoints(3))
    pools = [host.pool for host in of.members.hosts.values()]
    of.close()
    of.close()
    assert [pool.closed for pool in pools] == [1, 1, 1]  # type: ignore[attr-defined]  # CountingPools
    with pytest.raises(NoHealthyEndpoint):
        of.lease(request())


def test_a_reload_keeps_endpoints_and_takes_the_new_policy_and_limits() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(3))
    attempt(of, OK, tried=[B, C])
    new = cluster(clock, lb_policy="CONSISTENT_HASH", circuit_breakers=CircuitBreakers(max_requests=1)).spec
    of.reconfigure(new)
    assert row(of, A)["requests"] == 1
    assert len(used(of)) == 1, "all requests of one client address go to one endpoint"
    of.lease(request())
    with pytest.raises(UpstreamOverflow):
        of.lease(request())


def test_a_reload_of_the_same_policy_keeps_its_state() -> None:
    of = cluster(Clock(), endpoints(3))
    attempt(of, OK)
    balancer = of._balancer
    of.reconfigure(of.spec)
    attempt(of, OK)
    assert of._balancer is balancer


@pytest.mark.parametrize("policy", ["PEAK_EWMA", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "CONSISTENT_HASH"])
def test_every_policy_serves_and_explains_itself(policy: str) -> None:
    of = cluster(Clock(), endpoints(3), lb_policy=policy, hash_policy=HashPolicy(header="x-user"))
    assert used(of) == {A, B, C}
    story = of.explain(request())
    assert story["policy"] == policy
    assert story["why"]
    assert len(story["candidates"]) == 3


def test_explain_tells_who_would_be_chosen_and_changes_nothing() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2), lb_policy="ROUND_ROBIN")
    chosen = {of.explain(request())["chosen"] for _ in range(5)}
    assert chosen == {str(attempt(of, OK)[0])}


def test_endpoints_near_us_are_preferred_and_others_serve_retries() -> None:
    near = Endpoint(address=A, for_zones=frozenset({"z"}))
    far = Endpoint(address=B, for_zones=frozenset({"y"}))
    of = cluster(Clock(), (near, far), zone="z")
    assert used(of) == {A}
    assert attempt(of, OK, tried=[A])[0] == B


def test_endpoints_elsewhere_serve_when_the_only_one_near_us_is_ejected() -> None:
    near = Endpoint(address=A, for_zones=frozenset({"z"}))
    far = Endpoint(address=B, for_zones=frozenset({"y"}))
    of = cluster(Clock(), (near, far), zone="z")
    fail_until_ejected(of, A)
    assert used(of) == {B}


# --- ejection ---------------------------------------------------------------------------------------------------------


def test_an_ejection_is_returned_logged_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    of = cluster(Clock(1000), endpoints(2))
    with caplog.at_level(logging.WARNING, "sidecar.clusters"):
        ejection = fail_until_ejected(of, A)
    assert (ejection.address, ejection.until, ejection.duration, ejection.count) == (A, 1030, 30, 1)
    reason = "3 gateway failures in a row, the last: connect failed"
    assert caplog.messages == [f"cluster shop: endpoint 10.0.0.0:8080 ejected for 30 s, ejection 1 in a row: {reason}"]
    shown = row(of, A)
    assert (shown["state"], shown["ejected_for"], shown["candidate"]) == ("ejected", 30, False)
    assert shown["why"] == reason


def test_an_ejected_endpoint_gets_nothing_until_its_time_is_over() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(3))
    fail_until_ejected(of, A)
    clock.now += 29.9
    assert used(of) == {B, C}
    clock.now += 0.1
    assert row(of, A)["state"] == "ready"
    assert attempt(of, OK, tried=[B, C])[0] == A


def test_an_endpoint_on_probation_gets_a_tenth_of_its_weight_until_its_first_good_answer() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2), lb_policy="ROUND_ROBIN")
    fail_until_ejected(of, A)
    clock.now += 30
    waiting = [of.lease(request()) for _ in range(110)]
    assert Counter(lease.host.endpoint.address for lease in waiting)[A] == pytest.approx(10, abs=1)
    next(lease for lease in waiting if lease.host.endpoint.address == A).finish(OK)
    assert Counter(attempt(of, OK)[0] for _ in range(100))[A] == pytest.approx(50, abs=1)
    assert row(of, A)["why"] == ""


def test_an_endpoint_that_returns_still_failing_costs_one_request() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2), lb_policy="ROUND_ROBIN")
    fail_until_ejected(of, A)
    clock.now += 30
    ejections = []
    for _ in range(100):
        lease = of.lease(request())
        ejections.append(lease.finish(ConnectFailed() if lease.host.endpoint.address == A else OK))
        lease.release()
    assert [(each.count, each.duration) for each in ejections if each] == [(2, 60)]
    assert row(of, A)["failures"] == 4


def test_with_one_endpoint_nothing_is_ejected() -> None:
    of = cluster(Clock(), endpoints(1))
    assert [attempt(of, ConnectFailed()) for _ in range(20)] == [(A, None)] * 20


def test_of_two_endpoints_that_both_fail_one_stays() -> None:
    of = cluster(Clock(), endpoints(2))
    fail_until_ejected(of, A)
    assert [attempt(of, TimedOut()) for _ in range(20)] == [(B, None)] * 20


def test_a_retry_may_ask_an_ejected_endpoint_where_all_others_failed_and_its_good_answer_ends_the_ejection() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2))
    fail_until_ejected(of, A)
    clock.now += 5
    assert attempt(of, ConnectFailed(), tried=[B]) == (A, None)
    assert row(of, A)["state"] == "ejected"
    assert attempt(of, OK, tried=[B]) == (A, None)
    assert row(of, A)["state"] == "ready"


def test_a_good_answer_to_a_request_sent_before_the_ejection_does_not_end_it() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2))
    early = of.lease(request(), tried=[B])
    clock.now += 1
    fail_until_ejected(of, A)
    early.finish(OK)
    assert row(of, A)["state"] == "ejected"


def test_all_are_used_again_when_too_few_are_left(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    generous = OutlierDetection(max_ejection_percent=100, panic_threshold=50)
    of = cluster(clock, endpoints(3), outlier_detection=generous)
    fail_until_ejected(of, A)
    assert not of.view()["panic"]
    with caplog.at_level(logging.WARNING, "sidecar.clusters"):
        fail_until_ejected(of, B)
        assert of.view()["panic"]
        assert {of.lease(request()).host.endpoint.address for _ in range(60)} == {A, B, C}
        clock.now += 30
        assert not of.view()["panic"]
    assert [message for message in caplog.messages if "panic" in message] == [
        "cluster shop: panic began: too few endpoints left, ejections are ignored",
        "cluster shop: panic ended",
    ]


def test_retry_after_makes_an_endpoint_dear_until_its_time_is_over() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2))
    attempt(of, Responded(429, 0.001, retry_after=20), tried=[B])
    assert used(of) == {B}
    assert row(of, A)["penalised_for"] == 20
    assert row(of, A)["failures"] == 0, "a 429 is no failure"
    clock.now += 200
    assert used(of) == {A, B}
    assert row(of, A)["penalised_for"] is None


def test_retry_after_of_other_answers_means_nothing() -> None:
    of = cluster(Clock(), endpoints(2))
    attempt(of, Responded(500, 0.001, retry_after=20), tried=[B])
    attempt(of, Responded(301, 0.001, retry_after=20), tried=[A])
    assert row(of, A)["penalised_for"] is row(of, B)["penalised_for"] is None


@pytest.mark.parametrize("outcome", [Responded(503, 0.0001), Responded(500, 0.0001), Responded(429, 0.0001), Reset()])
def test_the_first_failure_makes_an_endpoint_dearer_than_its_peers_however_fast_it_was(outcome: Outcome) -> None:
    of = cluster(Clock(), endpoints(3))
    for _ in range(10):
        attempt(of, Responded(200, 0.1), tried=[A])
    attempt(of, outcome, tried=[B, C])
    assert used(of) == {B, C}


def test_an_endpoint_that_terminates_is_not_ejected_for_refusing_what_was_on_its_way() -> None:
    of = cluster(Clock(), endpoints(2))
    leases = [of.lease(request(), tried=[B]) for _ in range(5)]
    of.update((Endpoint(address=A, ready=False, terminating=True), Endpoint(address=B)))
    assert [lease.finish(ConnectFailed()) for lease in leases] == [None] * 5


# --- slow start -------------------------------------------------------------------------------------------------------


def shares(of: Cluster, at: Address, number: int = 1000) -> float:
    return Counter(attempt(of, OK)[0] for _ in range(number))[at] / number


def test_the_first_list_is_not_warmed_up() -> None:
    of = cluster(Clock(), endpoints(3))
    assert shares(of, A) == pytest.approx(1 / 3, abs=0.01)


def test_a_new_endpoint_gets_a_share_that_rises_over_the_window() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2))
    of.update(endpoints(3))
    seen = []
    for _ in range(5):
        seen.append(shares(of, C))
        clock.now += 2.5
    # Of weights 1, 1 and 0.1, 0.325, 0.55, 0.775, 1.
    assert seen == pytest.approx([0.1 / 2.1, 0.325 / 2.325, 0.55 / 2.55, 0.775 / 2.775, 1 / 3], abs=0.01)
    assert row(of, C)["share"] == 1


def test_an_endpoint_warms_up_from_the_moment_it_becomes_ready() -> None:
    clock = Clock()
    booting = (*endpoints(2), Endpoint(address=C, ready=False, serving=False))
    of = cluster(clock, booting)
    clock.now += 60
    of.update(endpoints(3))
    assert shares(of, C) == pytest.approx(0.1 / 2.1, abs=0.01)


def test_endpoints_that_come_after_an_empty_list_share_alike() -> None:
    of = cluster(Clock())
    of.update(endpoints(2))
    assert shares(of, A) == pytest.approx(0.5, abs=0.01)


def test_there_is_no_slow_start_with_a_window_of_zero() -> None:
    of = cluster(Clock(), endpoints(2), slow_start_window=Duration(0))
    of.update(endpoints(3))
    assert shares(of, C) == pytest.approx(1 / 3, abs=0.01)


# --- the view ---------------------------------------------------------------------------------------------------------


def test_the_view_is_json_with_every_column() -> None:
    of = cluster(Clock(), (*endpoints(2), Endpoint(address=C, ready=False)), lb_policy="LEAST_REQUEST")
    lease = of.lease(request())
    of.update((*endpoints(2), Endpoint(address=C, ready=False)), origin="cache", problem="watch is down", exists=False)
    seen = json.loads(json.dumps(of.view()))
    assert (seen["origin"], seen["problem"], seen["exists"], seen["listed"]) == ("cache", "watch is down", False, True)
    assert (seen["name"], seen["policy"], seen["inflight"]) == ("shop", "LEAST_REQUEST", 1)
    assert [each["state"] for each in seen["endpoints"]] == ["ready", "ready", "not_ready"]
    assert [each["candidate"] for each in seen["endpoints"]] == [True, True, False]
    assert sum(each["inflight"] for each in seen["endpoints"]) == 1
    lease.release()
    assert not unlisted().view()["listed"]


# --- everything at once -----------------------------------------------------------------------------------------------

failures = (Responded(500, 0.01), Responded(503, 0.01, 5), ConnectFailed(), Reset())
outcomes = st.sampled_from([OK, OK, Cancelled(), *failures])
policies = st.sampled_from(["PEAK_EWMA", "ROUND_ROBIN", "CONSISTENT_HASH"])
steps = st.one_of(
    st.tuples(st.just("lease"), st.integers(0, 9)),
    st.tuples(st.just("finish"), outcomes),
    st.tuples(st.just("release"), st.none()),
    st.tuples(st.just("wait"), st.floats(0, 60)),
    st.tuples(st.just("update"), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans()), max_size=10)),
)


@given(st.lists(steps, max_size=120), st.integers(0, 100), policies)
def test_whatever_happens_ejections_never_exceed_the_maximum_and_counts_return_to_zero(
    story: list[tuple[str, object]], percent: int, policy: str
) -> None:
    clock = Clock()
    detection = OutlierDetection(consecutive_gateway_failure=1, consecutive_5xx=2, max_ejection_percent=percent)
    of = cluster(clock, endpoints(10), lb_policy=policy, outlier_detection=detection)
    held: list[Lease] = []
    actions: dict[str, Callable[[object], object]] = {
        "lease": lambda tried: of.members.usable and held.append(lease_lawfully(of, tried)),
        "finish": lambda outcome: [lease.finish(outcome) for lease in held[-3:]],
        "release": lambda _: held and held.pop(0).release(),
        "wait": lambda seconds: setattr(clock, "now", clock.now + seconds),  # type: ignore[operator]  # a float
        "update": lambda those: of.update(
            tuple(Endpoint(address=address(at), weight=weight, ready=ready) for at, weight, ready in those)  # type: ignore[attr-defined]  # a list
        ),
    }
    for name, detail in story:
        actions[name](detail)
        of.view()
        out = [host for host in of.members.usable if host.health.until is not None]
        assert len(out) <= outlier.allowance(detection, len(of.members.usable))
        assert bool(of.members.candidates) == bool(of.members.usable)
        assert of.inflight == len(held)
    for lease in held:
        lease.release()
    assert of.inflight == 0
    assert all(host.inflight == 0 for host in of.members.hosts.values())


def lease_lawfully(of: Cluster, tried: object) -> Lease:
    first = of.lease(request())
    assert first.host.health.until is None or of.members.panic, "a first try never goes to an ejected endpoint"
    first.release()
    return of.lease(request(), tried=[address(at) for at in range(int(str(tried)))])

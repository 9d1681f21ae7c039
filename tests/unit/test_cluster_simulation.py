"""Whole runs in virtual time: a slow endpoint, one that answers 503 at once, a dead one of two, weights, a newcomer.

Same seed, same figures; they are printed (`pytest -s`) beside round robin's.
"""

import random

import pytest

from sidecar.clusters.outcome import ConnectFailed, Outcome, Responded
from sidecar.model import Address, Endpoint
from tests.support.clusters import Clock, Run, Serve, address, answers, attempt, cluster, endpoints, simulate

BAD = address(3)


def run(policy: str, size: int, serve: Serve, **how: float) -> Run:
    clock = Clock()
    return simulate(cluster(clock, endpoints(size), lb_policy=policy), clock, serve, **how)  # type: ignore[arg-type]  # by name


def noisy(usual: float, seed: int = 5) -> Serve:
    """Latencies as pods have them: spread, with a pause of up to 10 ms in one of a hundred."""
    dice = random.Random(seed)

    def serve(_endpoint: Address, _now: float) -> tuple[Outcome, float]:
        seconds = usual * dice.lognormvariate(0, 0.4) + (dice.random() / 100 if dice.random() < 0.01 else 0)
        return Responded(200, seconds), seconds

    return serve


@pytest.mark.parametrize("size", [3, 10])
def test_an_endpoint_fifty_times_slower_gets_less_than_a_hundredth_and_the_tail_does_not_see_it(size: int) -> None:
    slow = address(size - 1)
    serve = answers(lambda at: 0.1 if at == slow else 0.002)
    ours, turns = run("PEAK_EWMA", size, serve, rate=100), run("ROUND_ROBIN", size, serve, rate=100)
    for name, came in (("PEAK_EWMA", ours), ("ROUND_ROBIN", turns)):
        print(
            f"\n{size} endpoints, one 50x slower, {name}: {came.share(slow):.2%} of requests to it, "
            f"p99 {came.percentile(99) * 1000:.1f} ms",
            end="",
        )
    assert ours.share(slow) < 0.01
    assert ours.percentile(99) < 0.005
    assert turns.percentile(99) >= 0.1
    assert ours.sent[slow] > 1, "it is tried again after its score has faded"


@pytest.mark.parametrize("policy", ["PEAK_EWMA", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
@pytest.mark.parametrize("status", [503, 500])
@pytest.mark.parametrize("usual", [0.002, 0.2])
def test_of_ten_endpoints_one_that_answers_5xx_at_once_costs_two_in_a_thousand_at_most(
    policy: str, status: int, usual: float
) -> None:
    def serve(at: Address, _now: float) -> tuple[Outcome, float]:
        return (Responded(status, 0.0002), 0.0002) if at == BAD else (Responded(200, usual), usual)

    came = run(policy, 10, serve, rate=50)
    print(f"\none of ten answers {status}, {policy}: {1 - came.failed / 10_000:.2%} succeed", end="")
    assert came.failed <= 20


@pytest.mark.parametrize("policy", ["PEAK_EWMA", "ROUND_ROBIN", "LEAST_REQUEST"])
@pytest.mark.parametrize("size", [2, 3])
def test_of_few_replicas_a_dead_one_costs_few_attempts_and_the_others_stay(policy: str, size: int) -> None:
    def serve(at: Address, _now: float) -> tuple[Outcome, float]:
        return (ConnectFailed(), 0.0002) if at == address(0) else (Responded(200, 0.002), 0.002)

    came = run(policy, size, serve)
    assert came.failed <= 4
    assert {each.address for each in came.ejections} <= {address(0)}


def test_replicas_that_fail_for_a_common_cause_are_not_all_taken_out_and_serve_again_at_once() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(3))
    broken = simulate(of, clock, lambda _at, _now: (Responded(503, 0.01), 0.01), requests=1000)
    assert len(broken.ejections) == 1
    healed = simulate(of, clock, answers(lambda _at: 0.002), requests=1000)
    assert healed.failed == 0


@pytest.mark.parametrize("policy", ["PEAK_EWMA", "LEAST_REQUEST", "ROUND_ROBIN"])
@pytest.mark.parametrize("weights", [(3, 1), (1, 9), (5, 3, 2), (90, 10)])
@pytest.mark.parametrize(("usual", "rate"), [(0.0005, 100), (0.02, 50), (0.02, 300)])
def test_weights_hold_to_half_a_percent_under_load_and_noise(
    policy: str, weights: tuple[int, ...], usual: float, rate: float
) -> None:
    clock = Clock()
    weighted = tuple(Endpoint(address=address(at), weight=weight) for at, weight in enumerate(weights))
    came = simulate(cluster(clock, weighted, lb_policy=policy), clock, noisy(usual), requests=3000, rate=rate)
    wanted = [weight / sum(weights) for weight in weights]
    assert [came.share(each.address) for each in weighted] == pytest.approx(wanted, abs=0.005)


def test_equal_endpoints_share_alike_in_spite_of_noise() -> None:
    came = run("PEAK_EWMA", 3, noisy(0.02), requests=6000, rate=300)
    assert [came.share(address(at)) for at in range(3)] == pytest.approx([1 / 3] * 3, abs=0.02)


def test_a_newcomer_under_load_is_warmed_up_and_not_flooded() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(9))
    simulate(of, clock, answers(lambda _at: 0.02), requests=2000)
    of.update(endpoints(10))
    seen = [simulate(of, clock, answers(lambda _at: 0.02), requests=1000).share(address(9)) for _ in range(6)]
    print("\na newcomer among ten, share in windows of 2 s:", " ".join(f"{share:.1%}" for share in seen), end="")
    assert seen == sorted(seen[:5]) + seen[5:]
    assert seen[0] < 0.03
    assert seen[5] == pytest.approx(0.1, abs=0.01)


def test_a_newcomer_whose_first_answer_is_slow_is_tried_again() -> None:
    clock = Clock()
    of = cluster(clock, endpoints(2))
    simulate(of, clock, answers(lambda _at: 0.002), requests=100)
    of.update(endpoints(3))
    attempt(of, Responded(200, 2.0), tried=[address(0), address(1)])
    came = simulate(of, clock, answers(lambda _at: 0.002), requests=50_000)
    assert came.share(address(2)) > 0.05

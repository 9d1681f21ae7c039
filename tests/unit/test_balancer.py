"""Laws of `clusters.balancer`: turns are exact, dice are fair, the cheaper of two wins, nobody is starved."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters.balancer import (
    PENALTY,
    Balancer,
    Draw,
    RandomChoice,
    Rotation,
    RoundRobin,
    TwoChoices,
    score,
)
from sidecar.clusters.host import DECAY, Host
from sidecar.model import Endpoint
from tests.support.clusters import CountingPool, address, request

ASK = request()


def hosts(*weights: float, seed: int = 1) -> list[Host]:
    """Candidates as `members` prepares them."""
    dice = random.Random(seed)
    made = [
        Host(Endpoint(address=address(at), weight=round(weight)), CountingPool(), dice.random())
        for at, weight in enumerate(weights)
    ]
    weigh(made, weights)
    return made


def weigh(made: list[Host], weights: Iterable[float]) -> None:
    for at, (host, weight) in enumerate(zip(made, weights, strict=True)):
        host.index, host.weight, host.period = at, weight, 1 / weight
    for host in made:
        host.unit = sum(each.weight for each in made) / len(made) * host.period


def turns(rotation: Rotation, number: int) -> Counter[Host]:
    taken: Counter[Host] = Counter()
    for _ in range(number):
        host = rotation.peek()
        rotation.take(host, host)
        taken[host] += 1
    return taken


def picks(balancer: Balancer, number: int, now: float = 0.0) -> Counter[Host]:
    return Counter(balancer.pick(ASK, now) for _ in range(number))


def every_policy() -> list[Balancer]:
    dice = random.Random(1)
    return [RoundRobin(), RandomChoice(dice), TwoChoices(dice, latency=True), TwoChoices(dice, latency=False)]


# --- turns ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.integers(1, 2000))
def test_at_any_moment_each_endpoint_has_had_its_turns_to_within_one_turn_of_each(
    weights: list[int], number: int
) -> None:
    made = hosts(*weights)
    rotation = Rotation()
    rotation.rebuild(made)
    taken = turns(rotation, number)
    for host, weight in zip(made, weights, strict=True):
        # Every other endpoint may be a fraction of its own turn early or late.
        assert abs(taken[host] - number * weight / sum(weights)) <= len(weights)


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2), (90, 10), (1, 1000), (0.1, 1, 1), (7, 7, 7, 1)])
def test_turns_are_exact_over_whole_rounds(weights: tuple[float, ...]) -> None:
    made = hosts(*weights)
    rotation = Rotation()
    rotation.rebuild(made)
    number = round(sum(weights) * 100)
    taken = turns(rotation, number)
    assert [taken[host] for host in made] == pytest.approx([weight * 100 for weight in weights], abs=1)


def test_who_stays_keeps_its_place_when_the_set_changes() -> None:
    made = hosts(1, 1, 1, 1)
    rotation = Rotation()
    rotation.rebuild(made)
    order = [next(iter(turns(rotation, 1))) for _ in range(6)]
    rotation.rebuild([host for host in made if host is not order[3]])
    assert [next(iter(turns(rotation, 1))) for _ in range(3)] == [order[2], order[0], order[1]]


def test_turns_stay_exact_while_the_set_is_made_anew_after_every_turn() -> None:
    made = hosts(3, 1)
    rotation = Rotation()
    taken: Counter[Host] = Counter()
    for _ in range(400):
        rotation.rebuild(made)
        taken += turns(rotation, 1)
    assert [taken[host] for host in made] == pytest.approx([300, 100], abs=1)


def test_weights_may_become_equal_and_unequal_again() -> None:
    made = hosts(1, 1)
    rotation = Rotation()
    for weights in ((1, 1), (3, 1), (1, 1), (1, 9)):
        weigh(made, weights)
        rotation.rebuild(made)
        taken = turns(rotation, 100)
        assert taken[made[0]] == pytest.approx(100 * weights[0] / sum(weights), abs=1.5)


def test_sidecars_do_not_march_in_step() -> None:
    firsts = set()
    for seed in range(20):
        rotation = Rotation()
        rotation.rebuild(hosts(1, 1, 1, seed=seed))
        firsts.add(rotation.peek().index)
    assert firsts == {0, 1, 2}


def test_a_deferred_turn_comes_next_and_the_taker_pays() -> None:
    made = hosts(2, 1)
    rotation = Rotation()
    rotation.rebuild(made)
    taken: Counter[Host] = Counter()
    for number in range(300):
        turn = rotation.peek()
        taker = made[1] if number % 5 == 0 else turn
        rotation.take(turn, taker)
        taken[taker] += 1
    assert [taken[host] for host in made] == pytest.approx([200, 100], abs=2)


@pytest.mark.parametrize("every", [2, 4, 10_000])
@pytest.mark.parametrize("weights", [(2, 1, 1), (1, 1, 2), (1, 50, 3)])
def test_an_endpoint_passed_over_for_long_comes_back_to_its_weight_without_a_flood(
    weights: tuple[int, ...], every: int
) -> None:
    made = hosts(*weights)
    rotation = Rotation()
    rotation.rebuild(made)
    offered = 0
    for number in range(4000):
        turn = rotation.peek()
        offered += turn is made[0]
        rotation.take(turn, made[1 + number % 2] if turn is made[0] and offered % every else turn)
    number = 100 * sum(weights)
    assert turns(rotation, number)[made[0]] == pytest.approx(100 * weights[0], abs=6 * weights[0])


def test_while_an_endpoint_is_passed_over_the_others_have_their_turns() -> None:
    made = hosts(2, 1, 1)
    rotation = Rotation()
    rotation.rebuild(made)
    heads: Counter[Host] = Counter()
    for number in range(4000):
        turn = rotation.peek()
        heads[turn] += 1
        rotation.take(turn, made[1 + number % 2] if turn is made[0] else turn)
    assert heads[made[0]] == pytest.approx(2000, abs=20)


# --- dice -------------------------------------------------------------------------------------------------------------


class Loaded:
    """Dice that always show the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 1.0, 7.0, 65535.0]), min_size=2, max_size=9),
    st.floats(0, 1, exclude_max=True),
)
def test_the_other_is_another_one(weights: list[float], value: float) -> None:
    made = hosts(*weights)
    draw = Draw(Loaded(value))
    draw.rebuild(made)
    assert draw.any() in made
    for first in made:
        other = draw.other(first)
        assert other is not first
        assert other in made


@pytest.mark.parametrize("first", [0, 1, 2])
def test_rounding_at_the_upper_edge_gives_a_candidate_that_is_not_the_first(first: int) -> None:
    made = hosts(0.1, 0.2, 0.3)
    draw = Draw(Loaded(1.0))  # as the greatest product rounds
    draw.rebuild(made)
    assert draw.other(made[first]) is not made[first]
    assert draw.any() is made[2]


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2)])
def test_dice_follow_the_weights(weights: tuple[int, ...]) -> None:
    made = hosts(*weights)
    draw = Draw(random.Random(7))
    draw.rebuild(made)
    number = 20_000
    some = Counter(draw.any() for _ in range(number))
    others = Counter(draw.other(made[0]) for _ in range(number))
    rest = sum(weights[1:])
    assert [some[host] / number for host in made] == pytest.approx(
        [weight / sum(weights) for weight in weights], abs=0.02
    )
    assert [others[host] / number for host in made[1:]] == pytest.approx(
        [weight / rest for weight in weights[1:]], abs=0.02
    )


# --- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2), (90, 10, 1)])
@pytest.mark.parametrize("policy", range(4))
def test_every_policy_honours_weights_among_equals(policy: int, weights: tuple[int, ...]) -> None:
    balancer, made = every_policy()[policy], hosts(*weights)
    balancer.rebuild(made)
    number = 100 * sum(weights)
    taken = picks(balancer, number)
    # Dice are fair within four standard deviations; turns are exact.
    tolerance = 2 * number**0.5 if isinstance(balancer, RandomChoice) else 1
    assert [taken[host] for host in made] == pytest.approx([100 * weight for weight in weights], abs=tolerance)


@pytest.mark.parametrize("policy", range(4))
def test_the_only_candidate_is_picked(policy: int) -> None:
    balancer, made = every_policy()[policy], hosts(3)
    balancer.rebuild(made)
    assert balancer.pick(ASK, 0) is made[0]


@pytest.mark.parametrize("policy", range(4))
@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_a_tried_endpoint_is_not_picked_while_another_is_left(policy: int, size: int) -> None:
    balancer, made = every_policy()[policy], hosts(*[1] * size)
    balancer.rebuild(made)
    tried = {made[0].endpoint.address}
    for _ in range(size - 1):
        host = balancer.pick_untried(ASK, 0, tried)
        assert host is not None
        assert host.endpoint.address not in tried
        tried.add(host.endpoint.address)
    assert balancer.pick_untried(ASK, 0, tried) is None


def two(latency: bool = True, weights: tuple[float, ...] = (1, 1)) -> tuple[TwoChoices, list[Host]]:
    balancer, made = TwoChoices(random.Random(1), latency=latency), hosts(*weights)
    balancer.rebuild(made)
    return balancer, made


def test_the_faster_of_two_wins() -> None:
    balancer, (slow, fast) = two()
    slow.observe(0.1, 0)
    fast.observe(0.01, 0)
    assert picks(balancer, 100) == {fast: 100}


def test_the_faster_one_fills_up_until_the_slower_one_is_the_better_choice() -> None:
    balancer, (slow, fast) = two()
    slow.observe(0.1, 0)
    fast.observe(0.01, 0)
    fast.inflight = 9
    assert slow in picks(balancer, 10)


def test_latencies_within_a_factor_of_two_are_no_difference() -> None:
    balancer, (slow, fast) = two()
    slow.observe(0.019, 0)
    fast.observe(0.01, 0)
    assert picks(balancer, 100) == {slow: 50, fast: 50}


def test_latencies_below_a_millisecond_are_no_merit() -> None:
    balancer, (slow, fast) = two()
    slow.observe(0.0015, 0)
    fast.observe(0.00001, 0)
    assert picks(balancer, 100) == {slow: 50, fast: 50}


def test_among_equally_fast_ones_the_idle_one_wins() -> None:
    balancer, (busy, idle) = two()
    busy.inflight = 1
    assert picks(balancer, 100) == {idle: 100}


def test_load_is_measured_by_weight() -> None:
    balancer, (heavy, light) = two(weights=(9, 1))
    heavy.inflight, light.inflight = 9, 1
    assert picks(balancer, 1000)[heavy] == pytest.approx(900, abs=1)


def test_a_weight_is_overruled_by_an_endpoint_eight_times_slower_only() -> None:
    balancer, (heavy, light) = two(weights=(9, 1))
    light.observe(0.01, 0)
    heavy.observe(0.07, 0)
    assert picks(balancer, 100)[heavy] == pytest.approx(90, abs=1)
    heavy.observe(0.5, 0)
    assert picks(balancer, 100) == {light: 100}


def test_least_request_does_not_look_at_latency() -> None:
    balancer, (slow, fast) = two(latency=False)
    slow.observe(1, 0)
    fast.observe(0.01, 0)
    assert picks(balancer, 100) == {slow: 50, fast: 50}
    slow.inflight = 1
    assert picks(balancer, 100) == {fast: 100}


def test_an_endpoint_without_a_sample_is_neither_flooded_nor_starved() -> None:
    balancer, (new, known) = two()
    known.observe(0.1, 0)
    assert picks(balancer, 100) == {new: 50, known: 50}


@pytest.mark.parametrize("latency", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_an_endpoint_that_asked_to_be_left_alone_is_avoided_until_the_time_is_over(latency: bool, which: int) -> None:
    balancer, made = two(latency)
    made[which].penalise(5, now=0)
    assert picks(balancer, 100, now=4.9) == {made[1 - which]: 100}
    assert picks(balancer, 100, now=5) == {made[0]: 50, made[1]: 50}


def test_retry_after_is_believed_for_five_minutes_at_most() -> None:
    _, (host, _) = two()
    host.penalise(86_400, now=10)
    assert host.penalised_until == 310
    host.penalise(1, now=10)
    assert host.penalised_until == 310


def test_an_endpoint_slow_once_is_tried_again_after_its_score_has_faded() -> None:
    balancer, (slow, fast) = two()
    slow.observe(0.5, 0)
    for second in range(60):
        fast.observe(0.01, second)
        if slow in picks(balancer, 2, now=second):
            break
    assert 20 < second < 40  # ln(50 / 2) x 10 s


def test_explain_names_the_lowest_score_and_changes_nothing() -> None:
    balancer, (slow, fast) = two()
    slow.observe(0.1, 0)
    fast.observe(0.01, 0)
    assert balancer.explain(ASK, 0)[0] is fast
    turning = RoundRobin()
    turning.rebuild(hosts(1, 2))
    assert turning.explain(ASK, 0)[0] is turning.explain(ASK, 0)[0] is turning.pick(ASK, 0)
    chance = RandomChoice(random.Random(1))
    chance.rebuild([slow, fast])
    assert chance.explain(ASK, 0)[0] is None


def test_the_score_is_latency_times_load() -> None:
    _, (host, _) = two()
    host.observe(0.02, 0)
    host.inflight = 2
    assert score(host, 0) == pytest.approx(0.06)
    assert score(host, 0, latency=False) == 3
    host.penalise(1, 0)
    assert score(host, 0) == pytest.approx(0.06 * PENALTY)


# --- latency ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.0001, 100)), min_size=1))
def test_a_peak_counts_at_once_and_no_score_leaves_the_range_of_samples(samples: list[tuple[float, float]]) -> None:
    _, (host, _) = two()
    now, highest = 0.0, 0.0
    for gap, latency in samples:
        now += gap
        host.observe(latency, now)
        highest = max(highest, latency)
        assert latency * 0.999999 <= host.latency(now) <= highest * 1.000001


def test_a_latency_fades_to_37_percent_in_ten_seconds() -> None:
    _, (host, _) = two()
    host.observe(1, 0)
    assert host.latency(DECAY) == pytest.approx(0.3679, abs=0.001)


def test_a_fast_failure_is_dearer_than_any_usual_answer_and_each_next_one_dearer_still() -> None:
    _, (host, _) = two()
    seen = []
    for _ in range(12):
        host.observe_failure(0.0001, typical=0.1, now=0)
        seen.append(host.latency(0))
    assert seen[:4] == pytest.approx([1, 2, 4, 5])
    assert max(seen) == 5


def test_a_failure_that_took_long_counts_for_what_it_took() -> None:
    _, (host, _) = two()
    host.observe_failure(15, typical=0.1, now=0)
    assert host.latency(0) == 15

"""Laws of `clusters.hashing`: same key same endpoint, few keys move, weights hold, tried ones are passed over."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters.balancer import RandomChoice
from sidecar.clusters.hashing import POINTS, ConsistentHash, key_of
from sidecar.clusters.host import Host
from sidecar.config.model import HashPolicy
from sidecar.model import Address, Endpoint
from tests.support.clusters import CountingPool, address, request

BY_HEADER = HashPolicy(header="X-User")


def hosts(*weights: int) -> list[Host]:
    made = [
        Host(Endpoint(address=address(at), weight=weight), CountingPool(), at / len(weights))
        for at, weight in enumerate(weights)
    ]
    for at, host in enumerate(made):
        host.index = at
    return made


def ring(made: list[Host], policy: HashPolicy = BY_HEADER) -> ConsistentHash:
    balancer = ConsistentHash(policy, RandomChoice(random.Random(1)))
    balancer.rebuild(made)
    return balancer


def owners(balancer: ConsistentHash, keys: int = 2000) -> list[Address]:
    return [balancer.pick(request(**{"x-user": f"user-{key}"}), 0).endpoint.address for key in range(keys)]


def test_the_same_key_goes_to_the_same_endpoint_in_every_sidecar() -> None:
    assert owners(ring(hosts(1, 1, 1))) == owners(ring(hosts(1, 1, 1)[::-1]))


def test_where_a_key_goes_is_fixed_for_ever() -> None:
    """Sidecars of different versions serve side by side during a rollout."""
    assert [one.host[-1] for one in owners(ring(hosts(1, 1, 1)), 8)] == ["1", "1", "2", "0", "0", "2", "1", "2"]


def test_only_the_keys_of_an_endpoint_that_leaves_move() -> None:
    made = hosts(*[1] * 10)
    balancer = ring(made)
    before = owners(balancer)
    balancer.rebuild(made[:-1])
    after = owners(balancer)
    gone = made[-1].endpoint.address
    assert all(old in (new, gone) for old, new in zip(before, after, strict=True))
    assert gone not in after


def test_an_endpoint_that_comes_takes_its_share_and_moves_no_other_key() -> None:
    made = hosts(*[1] * 10)
    balancer = ring(made[:-1])
    before = owners(balancer)
    balancer.rebuild(made)
    after = owners(balancer)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {made[-1].endpoint.address}
    assert len(moved) / len(after) == pytest.approx(0.1, abs=0.04)


@given(st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=1, max_size=8))
def test_the_ring_does_not_depend_on_its_history(sets: list[set[int]]) -> None:
    made = hosts(1, 1, 2, 1, 3, 1, 1, 1)
    balancer = ring(made)
    for chosen in sets:
        balancer.rebuild([made[at] for at in chosen])
    assert owners(balancer, 50) == owners(ring([made[at] for at in sets[-1]]), 50)


def test_the_ring_stays_as_it_is_while_only_slow_start_shares_change() -> None:
    made = hosts(1, 1)
    balancer = ring(made)
    laid = balancer._ring
    made[0].weight = 0.5
    balancer.rebuild(made)
    assert balancer._ring is laid


def test_keys_spread_by_weight() -> None:
    made = hosts(1, 2, 5)
    share = Counter(owners(ring(made), 8000))
    assert [share[host.endpoint.address] / 8000 for host in made] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.05)


def test_weights_of_zero_alone_are_equal() -> None:
    made = hosts(0, 0)
    ring(made)
    assert [len(host.points) for host in made] == [POINTS, POINTS]


def test_a_key_goes_to_its_next_endpoint_when_the_first_was_tried() -> None:
    made = hosts(1, 1, 1)
    balancer = ring(made)
    ask = request(**{"x-user": "alice"})
    tried: list[Address] = []
    for _ in made:
        host = balancer.pick_untried(ask, 0, tried)
        assert host is not None
        assert host.endpoint.address not in tried
        tried.append(host.endpoint.address)
    assert balancer.pick_untried(ask, 0, tried) is None
    assert balancer.pick(ask, 0).endpoint.address == tried[0]
    balancer.rebuild([host for host in made if host.endpoint.address != tried[0]])
    assert balancer.pick(ask, 0).endpoint.address == tried[1], "the next is also who takes over"


def test_a_request_without_the_key_goes_anywhere() -> None:
    balancer = ring(hosts(1, 1, 1))
    assert len({balancer.pick(request(), 0) for _ in range(100)}) == 3
    assert balancer.pick_untried(request(), 0, [address(0), address(1)]) is not None
    assert balancer.explain(request(), 0)[0] is None


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (BY_HEADER, "hash of the header X-User"),
        (HashPolicy(cookie="sid"), "hash of the cookie sid"),
        (HashPolicy(source_ip=True), "hash of the client address"),
    ],
)
def test_explain_names_the_endpoint_and_what_was_hashed(policy: HashPolicy, why: str) -> None:
    balancer = ring(hosts(1, 1, 1), policy)
    ask = request(**{"x-user": "alice", "cookie": "sid=7"})
    assert balancer.explain(ask, 0) == (balancer.pick(ask, 0), why)


def test_the_header_is_the_key() -> None:
    assert key_of(BY_HEADER, request(**{"x-user": "alice"})) == b"alice"
    assert key_of(BY_HEADER, request()) is None


def test_the_cookie_is_the_key_wherever_it_stands() -> None:
    by_cookie = HashPolicy(cookie="sid")
    assert key_of(by_cookie, request(cookie="a=1; sid=x=y;b=2")) == b"x=y"
    assert key_of(by_cookie, request(cookie="sid; xsid=3")) is None
    assert key_of(by_cookie, request()) is None


def test_the_client_address_is_the_key_without_its_port() -> None:
    assert key_of(HashPolicy(source_ip=True), request("10.1.2.3")) == b"10.1.2.3"

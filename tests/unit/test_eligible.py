"""Laws of `clusters.eligible`: kube-proxy's CategorizeEndpoints, row by row and as properties."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters.eligible import choose
from sidecar.model import Address, Endpoint


def endpoint(number: int, **fields: object) -> Endpoint:
    return Endpoint(address=Address(f"10.0.0.{number}", 80), **fields)  # type: ignore[arg-type]  # fields by name


READY = endpoint(1)
TERMINATING = endpoint(2, ready=False, terminating=True)
DEAD = endpoint(3, ready=False, serving=False, terminating=True)
NOT_READY = endpoint(4, ready=False, serving=False)


def zones(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_only_ready_endpoints_are_used_while_there_is_one() -> None:
    assert choose([TERMINATING, READY, DEAD, NOT_READY]) == ((READY,), (READY,))


def test_serving_terminating_endpoints_are_the_last_resort() -> None:
    assert choose([TERMINATING, DEAD, NOT_READY]) == ((TERMINATING,), (TERMINATING,))


def test_an_endpoint_that_serves_but_is_neither_ready_nor_terminating_is_not_used() -> None:
    assert choose([endpoint(5, ready=False)]) == ((), ())


def test_nothing_usable_gives_nothing() -> None:
    assert choose([DEAD, NOT_READY]) == ((), ())


def test_zone_hints_narrow_the_choice_to_my_zone() -> None:
    near, far = endpoint(1, for_zones=zones("a")), endpoint(2, for_zones=zones("b"))
    assert choose([near, far], zone="a") == ((near, far), (near,))


def test_a_hint_is_not_the_zone_of_the_endpoint() -> None:
    guest = endpoint(1, zone="b", for_zones=zones("a"))
    host = endpoint(2, zone="a", for_zones=zones("b"))
    assert choose([guest, host], zone="a").preferred == (guest,)


def test_one_endpoint_without_a_hint_disables_hints() -> None:
    hinted = endpoint(1, for_zones=zones("a"))
    assert choose([hinted, endpoint(2)], zone="a").preferred == (hinted, endpoint(2))


def test_an_unready_endpoint_without_a_hint_disables_nothing() -> None:
    near, far = endpoint(1, for_zones=zones("a")), endpoint(2, for_zones=zones("b"))
    assert choose([near, far, NOT_READY, TERMINATING], zone="a").preferred == (near,)


def test_hints_that_do_not_name_my_zone_are_ignored() -> None:
    far = endpoint(2, for_zones=zones("b"))
    assert choose([far], zone="a").preferred == (far,)


def test_hints_are_ignored_where_my_place_is_unknown() -> None:
    far = endpoint(2, for_zones=zones("b"), for_nodes=zones("n2"))
    near = endpoint(1, for_zones=zones("a"), for_nodes=zones("n1"))
    assert choose([near, far]).preferred == (near, far)


def test_node_hints_go_before_zone_hints() -> None:
    same_node = endpoint(1, for_zones=zones("a"), for_nodes=zones("n1"))
    same_zone = endpoint(2, for_zones=zones("a"), for_nodes=zones("n2"))
    assert choose([same_node, same_zone], zone="a", node="n1").preferred == (same_node,)


def test_node_hints_that_do_not_name_my_node_leave_the_zone() -> None:
    near = endpoint(1, for_zones=zones("a"), for_nodes=zones("n2"))
    far = endpoint(2, for_zones=zones("b"), for_nodes=zones("n3"))
    assert choose([near, far], zone="a", node="n1").preferred == (near,)


def test_one_endpoint_without_a_node_hint_leaves_the_zone() -> None:
    near = endpoint(1, for_zones=zones("a"), for_nodes=zones("n1"))
    far = endpoint(2, for_zones=zones("a"))
    assert choose([near, far], zone="a", node="n1").preferred == (near, far)


def test_an_endpoint_of_weight_zero_is_used_only_where_all_are() -> None:
    none, some = endpoint(1, weight=0), endpoint(2)
    assert choose([none, some]).usable == (some,)
    assert choose([none]).usable == (none,)
    assert choose([none, TERMINATING]).usable == (none,)


names = st.frozensets(st.sampled_from("abc"), max_size=2)
endpoints = st.lists(
    st.builds(
        endpoint, st.integers(1, 250), ready=st.booleans(), serving=st.booleans(), terminating=st.booleans(),
        weight=st.integers(0, 3), for_zones=names, for_nodes=names,
    )
)  # fmt: skip
places = st.none() | st.sampled_from("abc")


@given(endpoints, places, places)
def test_preferred_endpoints_are_usable_and_there_are_some_whenever_any_is_usable(
    given_: list[Endpoint], zone: str | None, node: str | None
) -> None:
    usable, preferred = choose(given_, zone=zone, node=node)
    assert set(preferred) <= set(usable) <= set(given_)
    assert bool(preferred) == bool(usable)
    assert bool(usable) == any(one.ready or (one.serving and one.terminating) for one in given_)


@given(endpoints)
def test_a_ready_endpoint_excludes_all_that_are_not(given_: list[Endpoint]) -> None:
    usable, _ = choose(given_)
    assert len({one.ready for one in usable}) <= 1
    assert all(one.ready for one in usable) or not any(one.ready for one in given_)

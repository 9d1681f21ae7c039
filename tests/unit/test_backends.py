"""Which backend of a rule is next: weights hold exactly, zero is never chosen."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import BackendRef
from sidecar.errors import BadBackend
from sidecar.routing import Backends

WEIGHTS = st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any)


def backends(*weights: int) -> Backends:
    return Backends([BackendRef(name=str(at), weight=weight) for at, weight in enumerate(weights)])


@given(WEIGHTS)
def test_over_every_cycle_each_backend_gets_exactly_its_weight(weights: list[int]) -> None:
    choice = backends(*weights)
    cycle = sum(weights) // math.gcd(*weights)
    for _ in range(2):
        picked = Counter(int(choice.pick().name) for _ in range(cycle))
        assert picked == Counter({at: weight // math.gcd(*weights) for at, weight in enumerate(weights) if weight})


def test_a_small_share_is_spread_and_the_first_of_equals_begins() -> None:
    canary = backends(9, 1)
    picked = "".join(canary.pick().name for _ in range(20))
    assert picked == "00000100000000010000"
    even = backends(1, 1, 1)
    assert "".join(even.pick().name for _ in range(6)) == "012012"


def test_a_zero_weight_is_never_chosen() -> None:
    assert {backends(0, 1, 0).pick().name for _ in range(10)} == {"1"}


@pytest.mark.parametrize(
    ("weights", "message"), [((), "the rule has no backend"), ((0, 0), "all backends of the rule have weight 0")]
)
def test_no_backend_and_only_zero_weights_are_a_bad_backend_with_status_500(
    weights: tuple[int, ...], message: str
) -> None:
    with pytest.raises(BadBackend) as caught:
        backends(*weights).pick()
    assert (str(caught.value), caught.value.status) == (message, 500)

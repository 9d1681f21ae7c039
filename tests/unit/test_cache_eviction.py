"""S3-FIFO: what stays when there is no room, against LRU under scans."""

import random
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from sidecar.filters.cache.eviction import S3Fifo

MANY = 10**6


def test_what_is_used_while_it_is_new_stays_and_the_rest_goes_first() -> None:
    policy: S3Fifo[str] = S3Fifo()
    for name in "abcdefghij":
        assert policy.add(name, 1, 10, MANY) == []
    for _ in range(2):
        policy.use("a")
    assert policy.add("k", 1, 10, MANY) == ["b"]
    assert "a" in policy
    assert len(policy) == policy.size == 10


def test_a_name_that_comes_back_soon_goes_to_the_main_queue() -> None:
    policy: S3Fifo[str] = S3Fifo()
    for name in "abcdefghijk":
        policy.add(name, 1, 10, MANY)
    assert "a" not in policy
    policy.add("a", 1, 10, MANY)
    assert "a" in policy._main
    for at in range(30):
        policy.add(f"scan{at}", 1, 10, MANY)
    assert "a" in policy


def test_what_is_used_in_the_main_queue_gets_another_round() -> None:
    policy: S3Fifo[str] = S3Fifo()
    for name in ("a", "b"):
        policy._ghosts[name] = None
        policy.add(name, 5, 10, MANY)
    policy.use("a")
    policy._ghosts["c"] = None
    assert policy.add("c", 5, 10, MANY) == ["b"]
    assert "a" in policy


def test_what_is_larger_than_the_room_does_not_enter() -> None:
    policy: S3Fifo[str] = S3Fifo()
    policy.add("a", 5, 10, MANY)
    assert policy.add("b", 11, 10, MANY) == ["b"]
    assert policy.add("a", 11, 10, MANY) == ["a"]
    assert policy.size == len(policy) == 0


def test_a_new_size_takes_the_place_of_the_old() -> None:
    policy: S3Fifo[str] = S3Fifo()
    policy.add("a", 5, 10, MANY)
    policy.add("a", 7, 10, MANY)
    assert policy.size == 7


def test_names_are_limited_as_bytes_are() -> None:
    policy: S3Fifo[int] = S3Fifo()
    for at in range(100):
        policy.add(at, 1, MANY, 10)
    assert len(policy) == 10


def test_forgetting_and_using_what_is_not_there_is_nothing() -> None:
    policy: S3Fifo[str] = S3Fifo()
    policy.remove("a")
    policy.use("a")
    assert policy.size == 0


@given(
    st.lists(st.tuples(st.sampled_from("aur"), st.integers(0, 30), st.integers(1, 12)), max_size=200),
    st.integers(1, 60),
)
def test_the_size_is_the_sum_of_what_is_there_and_never_more_than_the_room(
    steps: list[tuple[str, int, int]], room: int
) -> None:
    policy: S3Fifo[int] = S3Fifo()
    sizes: dict[int, int] = {}
    for act, name, size in steps:
        if act == "a":
            sizes[name] = size
            for gone in policy.add(name, size, room, 8):
                del sizes[gone]
        elif act == "u":
            policy.use(name)
        else:
            policy.remove(name)
            sizes.pop(name, None)
        assert policy.size == sum(sizes.values()) <= room
        assert len(policy) == len(sizes) <= 8
        assert all(each in policy for each in sizes)
        assert len(policy._ghosts) <= 8


def test_a_scan_costs_s3_fifo_less_than_lru() -> None:
    rng = random.Random(7)
    requests: list[int] = []
    fresh = 10_000
    for _ in range(150):
        requests += [int(rng.paretovariate(1.0)) % 300 for _ in range(50)]
        requests += range(fresh, fresh + 40)  # a crawler: each once
        fresh += 40
    policy: S3Fifo[int] = S3Fifo()
    lru: OrderedDict[int, None] = OrderedDict()
    hits = {"s3-fifo": 0, "lru": 0}
    for name in requests:
        if name in policy:
            hits["s3-fifo"] += 1
            policy.use(name)
        else:
            policy.add(name, 1, 60, MANY)
        if name in lru:
            hits["lru"] += 1
            lru.move_to_end(name)
        else:
            lru[name] = None
            if len(lru) > 60:
                lru.popitem(last=False)
    assert hits["s3-fifo"] > hits["lru"] * 1.05

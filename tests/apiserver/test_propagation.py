"""How soon a change of a slice is used by a request."""

import time

import pytest

from tests.support.control_plane import endpoint_slice
from tests.support.netns import ADDRESS
from tests.support.pod import send, upstream
from tests.support.team import Team

CHANGES = 200
LIMIT = 0.1  # seconds, at p99


@pytest.mark.soak
def test_the_next_request_uses_a_changed_slice_within_100_ms_at_p99(team: Team) -> None:
    team.install()
    team.create_service("orders")
    host = f"orders.{team.name}"
    delays: list[float] = []
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        team.put_slice(endpoint_slice("orders", [ADDRESS], a))
        assert send(host).body == "a"
        for change in range(CHANGES):
            port, name = ((b, "b"), (a, "a"))[change % 2]
            team.put_slice(endpoint_slice("orders", [ADDRESS], port))
            answered = time.monotonic()  # the write is durable: from here on a request should know
            while send(host).body != name:
                assert time.monotonic() - answered < 10
            delays.append(time.monotonic() - answered)
    delays.sort()
    half, p99, worst = (1000 * delays[at] for at in (CHANGES // 2, CHANGES * 99 // 100, -1))
    print(f"\n{CHANGES} changes: from the API server's answer to a request at the new endpoint, request included: "
          f"median {half:.1f} ms, p99 {p99:.1f} ms, most {worst:.1f} ms")  # fmt: skip
    assert p99 / 1000 <= LIMIT

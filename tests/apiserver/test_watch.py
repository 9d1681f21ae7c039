"""A real sidecar's watch of a real API server: list forms, expiry, crashes, tokens."""

from collections.abc import Iterator

import pytest

from tests.support.control_plane import SLICES, ApiError, ControlPlane, endpoint_slice, until
from tests.support.netns import ADDRESS
from tests.support.pod import Traffic, send, upstream
from tests.support.team import Team

STREAMING_LIST = (
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1&allowWatchBookmarks=true"
)
RECONNECT_SECONDS = 40  # the longest pause of the watch's backoff, and a little


@pytest.fixture
def plain_lists_only(plane: ControlPlane) -> Iterator[None]:
    """The API server without streaming lists (before Kubernetes 1.34 they could be off)."""
    plane.restart_api("--feature-gates=WatchList=false")
    yield
    plane.restart_api()


def take_over(team: Team, port: int, name: str) -> None:
    """Give the only slice another endpoint and wait until a request reaches it."""
    team.put_slice(endpoint_slice("orders", [ADDRESS], port))
    until(lambda: send(f"orders.{team.name}").body == name, f"{name} answers", RECONNECT_SECONDS)


def relists(team: Team) -> int:
    """How often the sidecar's watch has had to list again, as its metrics tell."""
    lines = [line for line in metrics().splitlines() if "relist" in line and f'"{team.name}"' in line]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if "_created" not in line)


def metrics() -> str:
    return send("127.0.0.1:15021", 15021, "/metrics", absolute=False).body


def test_a_streaming_list_brings_endpoints_and_their_changes(team: Team) -> None:
    team.install()
    team.create_service("orders")
    before = team.plane.requests("LIST", "endpointslices")
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        take_over(team, a, "a")
        take_over(team, b, "b")
    assert team.plane.requests("LIST", "endpointslices") == before


@pytest.mark.usefixtures("plain_lists_only")
def test_a_plain_list_brings_endpoints_and_their_changes(team: Team) -> None:
    with pytest.raises(ApiError, match="sendInitialEvents"):
        team.plane.call("GET", f"{SLICES.format(team.name)}?{STREAMING_LIST}")
    team.install()
    team.create_service("orders")
    before = team.plane.requests("LIST", "endpointslices")
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        take_over(team, a, "a")
        take_over(team, b, "b")
    assert team.plane.requests("LIST", "endpointslices") == before + 1


def test_an_expired_version_makes_a_new_list_and_loses_nothing(team: Team) -> None:
    plane = team.plane
    team.install()
    team.create_service("orders")
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        version = team.put_slice(endpoint_slice("orders", [ADDRESS], a))["metadata"]["resourceVersion"]
        assert send(f"orders.{team.name}").body == "a"
        before = relists(team)
        # The server forgets what was before: its cache begins at a later version, and etcd has dropped the history.
        plane.create_service_account(team.name, "later")
        plane.kill_api()
        plane.compact()
        plane.start_api()
        (event,) = plane.watch_events(team.name, version)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        take_over(team, b, "b")
        assert relists(team) == before + 1


def test_no_request_fails_while_the_api_server_crashes_and_comes_back(team: Team) -> None:
    team.install()
    team.create_service("orders")
    host = f"orders.{team.name}"
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        team.put_slice(endpoint_slice("orders", [ADDRESS], a))
        with Traffic(host) as traffic:
            team.plane.kill_api()
            during = traffic.sent
            until(lambda: traffic.sent > during + 50, "traffic flows without an API server")
            team.plane.start_api()
            take_over(team, b, "b")
    assert traffic.failures == []


def test_a_rotated_token_is_used_when_the_old_one_is_refused(team: Team) -> None:
    team.install()
    team.create_service("orders")
    old = team.plane.token(team.name, "default", bound_to="old-pod")
    team.account.rotate(old)
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        take_over(team, a, "a")
        team.account.rotate(team.plane.token(team.name, "default"))
        team.plane.call("DELETE", f"/api/v1/namespaces/{team.name}/secrets/old-pod")
        team.plane.restart_api()  # ends the running watch, and what the server remembers of tokens
        with pytest.raises(ApiError, match="Unauthorized"):
            team.plane.call("GET", SLICES.format(team.name), token=old)
        take_over(team, b, "b")

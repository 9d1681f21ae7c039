"""EndpointSlices written to a real API server decide where the next request of a real sidecar goes."""

from tests.support.control_plane import endpoint_slice, until
from tests.support.netns import ADDRESS
from tests.support.pod import send, spread, upstream
from tests.support.team import Team


def test_every_spelling_of_the_service_reaches_its_endpoint(team: Team) -> None:
    team.install()
    team.create_service("orders")
    with upstream("orders-1") as port, team.sidecar():
        team.put_slice(endpoint_slice("orders", [ADDRESS], port))
        full = f"orders.{team.name}.svc.cluster.local"
        for host in ("orders", f"orders.{team.name}", f"orders.{team.name}.svc", full, f"{full}:80"):
            assert send(host).body == "orders-1"
        assert send("orders", absolute=False).body == "orders-1"


def test_slices_of_a_service_are_joined_and_follow_each_change(team: Team) -> None:
    team.install()
    team.create_service("orders")
    host = f"orders.{team.name}"
    with upstream("a") as a, upstream("b") as b, team.sidecar():
        team.put_slice(endpoint_slice("orders", [ADDRESS], a))
        assert set(spread(host, 10)) == {"a"}
        team.put_slice(endpoint_slice("orders", [ADDRESS], b, name="orders-2"))
        until(lambda: set(spread(host, 40)) == {"a", "b"}, "the second slice takes traffic")
        team.put_slice(endpoint_slice("orders", [ADDRESS], a, ready=False))
        until(lambda: set(spread(host, 20)) == {"b"}, "an endpoint that is not ready takes no traffic")


def test_a_port_is_chosen_by_the_services_number_and_by_name(team: Team) -> None:
    team.install()
    team.create_service("orders", ("http", 80), ("metrics", 9090))
    host = f"orders.{team.name}"
    with upstream("app") as app, upstream("metrics") as metrics, team.sidecar():
        manifest = endpoint_slice("orders", [ADDRESS], app, port_name="http")
        manifest["ports"].append({"name": "metrics", "port": metrics, "protocol": "TCP"})
        team.put_slice(manifest)
        assert send(host).body == "app"
        assert send(f"{host}:9090").body == "metrics"


def test_services_of_two_namespaces_are_watched_by_one_sidecar(team: Team) -> None:
    other = f"{team.name}-other"
    team.plane.create_namespace(other)
    team.install("--set", f"rbac.namespaces={{{team.name},{other}}}")
    team.create_service("orders")
    with upstream("here") as here, upstream("there") as there, team.sidecar():
        team.put_slice(endpoint_slice("orders", [ADDRESS], here))
        team.plane.put_slice(other, endpoint_slice("orders", [ADDRESS], there))
        assert send(f"orders.{team.name}").body == "here"
        assert send(f"orders.{other}").body == "there"

"""What the pod's environment adds to the configuration file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import pod
from sidecar.config.load import load_text
from sidecar.config.model import Cluster, Config
from sidecar.errors import ConfigError

TEXT = b"""
listeners:
  - {name: outbound, address: "127.0.0.1:15001", mode: forward}
  - name: inbound
    address: 0.0.0.0:15006
    routes: [{rules: [{backendRefs: [{name: app}, {name: other, weight: 0}]}]}]
clusters:
  - {name: app, static: {endpoints: ["127.0.0.1:1"]}, connect_timeout: 2s}
  - {name: other, static: {endpoints: ["127.0.0.1:2"]}}
"""


def config() -> Config:
    return load_text(TEXT, "sidecar.yaml")


def _endpoints(cluster: Cluster) -> tuple[object, ...]:
    assert cluster.static is not None
    return cluster.static.endpoints


def inbound(whole: Config) -> dict[str, tuple[str, tuple[object, ...]]]:
    """Each inbound listener's address, and the endpoints that its rule's clusters have."""
    clusters = {cluster.name: cluster for cluster in whole.clusters}
    return {
        listener.name: (
            listener.address,
            tuple(
                endpoint
                for ref in listener.routes[0].rules[0].backend_refs
                for endpoint in _endpoints(clusters[ref.name])
            ),
        )
        for listener in whole.listeners
        if listener.mode == "reverse"
    }


def test_each_pair_has_a_listener_that_forwards_to_its_app_port() -> None:
    whole = pod.take_over(config(), "15006:8080,15007:9090")
    assert inbound(whole) == {
        "inbound": ("0.0.0.0:15006", ("127.0.0.1:8080", "127.0.0.1:2")),
        "inbound-15007": ("0.0.0.0:15007", ("127.0.0.1:9090", "127.0.0.1:2")),
    }
    assert {cluster.name: float(cluster.connect_timeout) for cluster in whole.clusters} == {
        "other": 1.0,
        "app": 2.0,
        "app-9090": 2.0,
    }


def test_without_a_pair_there_is_no_inbound_listener() -> None:
    whole = pod.take_over(config(), "")
    assert [listener.name for listener in whole.listeners] == ["outbound"]


def test_a_configuration_without_the_listener_says_all_itself() -> None:
    own = load_text(b'listeners: [{name: mine, address: ":1", mode: forward}]', "sidecar.yaml")
    assert pod.take_over(own, "15006:8080") is own


def test_two_names_of_one_app_port_share_its_cluster() -> None:
    whole = pod.take_over(config(), "15006:1,15007:2,15008:2")
    assert [cluster.name for cluster in whole.clusters] == ["other", "app", "app-2"]


@pytest.mark.parametrize("host", ["", "127.0.0.1", "[::]", "localhost"])
def test_the_host_of_the_listener_stays(host: str) -> None:
    assert pod.replace_port(f"{host}:1", 2) == f"{host}:2"


def test_a_unix_socket_becomes_a_port_of_all_interfaces() -> None:
    assert pod.replace_port("unix:/run/in.sock", 2) == ":2"


@pytest.mark.parametrize("text", ["15006", "a:b", "15006:0", "15006:65536", "1:2:3", "15006:8080,", "¹:2"])
def test_anything_but_pairs_of_ports_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"SIDECAR_INBOUND: expected `port:app-port`"):
        pod.take_over(config(), text)


def test_a_port_that_is_taken_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"SIDECAR_INBOUND: '15001:8080' does not go with .* is taken by"):
        pod.take_over(_on_loopback(), "15001:8080")


def _on_loopback() -> Config:
    return load_text(TEXT.replace(b"0.0.0.0", b"127.0.0.1"), "sidecar.yaml")


@given(st.lists(st.integers(1024, 14_000), min_size=1, max_size=8, unique=True))
def test_every_pair_is_served_whatever_the_ports(ports: list[int]) -> None:
    text = ",".join(f"{15006 + at}:{port}" for at, port in enumerate(ports))
    served = inbound(pod.take_over(config(), text))
    assert {address: endpoints[0] for address, endpoints in served.values()} == {
        f"0.0.0.0:{15006 + at}": f"127.0.0.1:{port}" for at, port in enumerate(ports)
    }


def test_the_default_stands_in_while_the_file_is_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "sidecar.yaml")
    environ = {pod.DEFAULT_VARIABLE: TEXT.decode(), pod.INBOUND_VARIABLE: "15006:8080"}
    assert pod.load(path, environ) == pod.take_over(config(), "15006:8080")
    with pytest.raises(ConfigError, match="cannot read it: No such file"):
        pod.load(path, {})


def test_the_file_goes_before_the_default(tmp_path: Path) -> None:
    path = str(tmp_path / "sidecar.yaml")
    Path(path).write_bytes(TEXT)
    assert pod.load(path, {pod.DEFAULT_VARIABLE: "nonsense"}) == config()

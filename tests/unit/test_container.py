"""The generated container: what Pod Security `restricted` asks, and the contract with the process inside."""

import msgspec
import pytest

from sidecar import __version__
from sidecar.inject import container
from sidecar.inject.settings import Image, Inbound, Ports, Settings


def test_the_container_is_a_native_sidecar() -> None:
    made = container.container(Settings())
    assert made["restartPolicy"] == "Always"
    assert made["args"] == ["run", "--config", "/etc/sidecar/sidecar.yaml"]


def test_the_container_meets_pod_security_restricted_with_a_read_only_root() -> None:
    security = container.container(Settings())["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 65532
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True


def test_probes_ask_the_probe_port_by_number() -> None:
    made = container.container(Settings(ports=Ports(probe=16021)))
    asked = {name: made[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {
        "startupProbe": {"path": "/readyz", "port": 16021},
        "readinessProbe": {"path": "/readyz", "port": 16021},
        "livenessProbe": {"path": "/livez", "port": 16021},
    }


def test_port_names_are_valid_and_unique() -> None:
    names = [port["name"] for port in container.container(Settings())["ports"]]
    assert len(set(names)) == len(names) == 4
    assert all(len(name) <= 15 for name in names)  # IANA_SVC_NAME, as the API server checks


def test_the_inbound_port_takes_the_name_of_the_services_target_port() -> None:
    made = container.container(Settings(inbound=Inbound(port_name="web")))
    assert made["ports"][0] == {"name": "web", "containerPort": 15006, "protocol": "TCP"}


def test_without_inbound_no_port_name_is_taken_from_the_app() -> None:
    made = container.container(Settings(inbound=Inbound(enabled=False)))
    assert [port["name"] for port in made["ports"]] == ["sidecar-out", "sidecar-admin", "sidecar-probe"]


def test_identity_comes_from_the_downward_api() -> None:
    environment = container.container(Settings())["env"]
    paths = {env["name"]: env["valueFrom"]["fieldRef"]["fieldPath"] for env in environment if "valueFrom" in env}
    assert paths["POD_UID"] == "metadata.uid"
    assert paths["NODE_NAME"] == "spec.nodeName"
    assert paths["POD_ZONE"] == "metadata.labels['topology.kubernetes.io/zone']"


def test_otel_variables_are_in_a_fixed_order() -> None:
    env = container.container(Settings(otel={"OTEL_B": "2", "OTEL_A": "1"}))["env"]
    assert env[-2:] == [{"name": "OTEL_A", "value": "1"}, {"name": "OTEL_B", "value": "2"}]


@pytest.mark.parametrize(
    ("image", "written"),
    [
        (Image(), f"sidecar-proxy/sidecar:{__version__}"),
        (Image(repository="registry.example:5000/a", tag="b"), "registry.example:5000/a:b"),
        (Image(tag="b", digest="sha256:c"), "sidecar-proxy/sidecar:b@sha256:c"),
    ],
)
def test_the_image_is_written_with_tag_and_digest(image: Image, written: str) -> None:
    assert str(image) == written


def test_the_token_lies_where_in_cluster_clients_look() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container.container(Settings())["volumeMounts"]}
    config, token = container.volumes(Settings(), "web-sidecar")
    assert mounts[token["name"]] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert mounts[config["name"]] == "/etc/sidecar"
    projected = token["projected"]["sources"]
    assert projected[0]["serviceAccountToken"] == {"path": "token", "expirationSeconds": 3607}
    assert projected[1]["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert projected[2]["downwardAPI"]["items"][0]["path"] == "namespace"


def test_apps_are_pointed_at_the_outbound_listener_in_both_spellings() -> None:
    environment = {env["name"]: env["value"] for env in container.app_environment(Settings(no_proxy=("a.example",)))}
    assert environment["HTTP_PROXY"] == environment["http_proxy"] == "http://127.0.0.1:15001"
    assert environment["NO_PROXY"] == environment["no_proxy"]
    assert environment["NO_PROXY"].split(",") == [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes.default.svc",
        "a.example",
    ]


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `portz`"):
        msgspec.convert({"portz": {}}, Settings)

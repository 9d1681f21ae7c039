"""Configuration of the API server's client: in a cluster, by kubeconfig, and every way to get it wrong."""

import asyncio
import datetime as dt
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from sidecar.config.model import Kubernetes
from sidecar.discovery import kubernetes_client
from sidecar.discovery.kubeconfig import InCluster, Kubeconfig, check_kubeconfig, find_access, own_namespace
from sidecar.discovery.kubernetes_client import ApiError, KubernetesClient
from sidecar.errors import ConfigError
from tests.support.fake_apiserver import FakeApiServer
from tests.support.following import discovery_for, following, service

GOOD: dict[str, Any] = {
    "current-context": "a",
    "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
}


def written(path: Path, config: object) -> Kubeconfig:
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return Kubeconfig(str(path), None)


@pytest.fixture
def service_account(tmp_path: Path) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("one\n")
    (folder / "namespace").write_text("shop\n")
    return folder


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's TLS context whose certificate `ca.crt` vouches for."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "ca.crt"), "-subj", "/CN=fake"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    return context


async def test_in_a_cluster_the_service_account_signs_in_and_a_rotated_token_is_read(service_account: Path) -> None:
    async with FakeApiServer(tls=await asyncio.to_thread(certificate, service_account)) as api:
        api.token = "one"
        api.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
        async with discovery_for(None, environ=environ, service_account=service_account) as discovery:
            assert discovery.available
            assert discovery.namespace == "shop"
            async with following(discovery.source(service("orders"))) as found:
                await found.has("10.0.0.1:8080")
                api.token = "two"
                (service_account / "token").write_text("two")
                api.cut()
                api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
                await found.has("10.0.0.1:8080", "10.0.0.2:8080")


async def test_a_token_file_that_turns_bad_is_an_error_and_not_the_end(
    service_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(certificate, service_account)
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    loader = kubernetes_client._library(kubeconfig=False).loader
    monkeypatch.setattr(loader, "TOKEN_REFRESH_PERIOD", dt.timedelta(0))  # read at every request
    client = await KubernetesClient.connect(InCluster(service_account, environ))
    (service_account / "token").write_text("")
    with pytest.raises(ApiError, match=r"cannot sign in.*empty"):
        await client.get_json("/api/v1/namespaces/shop/services/x")
    await client.aclose()


async def test_new_certificates_get_new_connections(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        await asyncio.to_thread(certificate, folder)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(first / "ca.crt", first / "key")
    async with FakeApiServer(tls=tls) as api:
        api.put_service("shop", "orders", clusterIP="10.96.0.1")
        config = json.loads(api.kubeconfig(tmp_path / "c").read_text())
        config["clusters"][0]["cluster"]["certificate-authority"] = str(first / "ca.crt")

        def signed_by(folder: Path) -> Kubeconfig:
            keys = {
                "client-certificate": str(folder / "ca.crt"),
                "client-key": str(folder / "key"),
                "token": folder.name,
            }
            config["users"][0]["user"] = keys
            return written(tmp_path / "c", config)

        api.token = "first"
        client = await KubernetesClient.connect(signed_by(first))
        await client.get_json("/api/v1/namespaces/shop/services/orders")
        for folder in (second, first):
            signed_by(folder)
            api.token = folder.name
            await client.get_json("/api/v1/namespaces/shop/services/orders")
        await client.aclose()
    assert len(api.requests) == 5  # two of them were refused


async def test_a_certificate_that_nobody_vouches_for_is_told(service_account: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    tls = await asyncio.to_thread(certificate, service_account)
    await asyncio.to_thread(certificate, other)
    (service_account / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
    async with FakeApiServer(tls=tls) as api:
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
        client = await KubernetesClient.connect(InCluster(service_account, environ))
        with pytest.raises(ApiError, match="certificate is not trusted"):
            await client.get_json("/api/v1/namespaces/shop/services/x")
        await client.aclose()


async def test_a_service_account_without_certificate_is_told(service_account: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    with pytest.raises(ApiError, match=r"cannot sign in.*certification file"):
        await KubernetesClient.connect(InCluster(service_account, environ))


async def test_a_plugin_signs_in(tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(json.dumps(credential))})"],
    }
    async with FakeApiServer() as api:
        api.token = "from-plugin"
        api.put_service("shop", "orders", clusterIP="10.96.0.1")
        path = api.kubeconfig(tmp_path / "c")
        config = json.loads(path.read_text())
        config["users"][0]["user"] = {"exec": plugin}
        client = await KubernetesClient.connect(written(path, config))
        assert (await client.get_json("/api/v1/namespaces/shop/services/orders"))["kind"] == "Service"
        assert client.server == api.url
        await client.aclose()


async def test_a_plugin_that_fails_is_told(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nonexistent/plugin"}
    access = written(tmp_path / "c", GOOD | {"users": [{"name": "u", "user": {"exec": plugin}}]})
    with pytest.raises(ApiError, match="cannot sign in"):
        await KubernetesClient.connect(access)


async def test_own_calls_can_be_traced(tmp_path: Path) -> None:
    seen: list[str] = []

    async def started(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(started)
    async with FakeApiServer() as api:
        client = await KubernetesClient.connect(Kubeconfig(str(api.kubeconfig(tmp_path / "c")), None), [tracing])
        with pytest.raises(ApiError) as failure:
            await client.get_json("/api/v1/namespaces/shop/services/x")
        await client.aclose()
    assert seen == ["/api/v1/namespaces/shop/services/x"]
    assert failure.value.status == 404
    assert str(failure.value) == f"API server {api.url} answers 404: services x not found"


async def test_an_answer_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_client, "_MAX_BODY", 1000)
    async with FakeApiServer() as api:
        api.refuse(200, body=json.dumps({"x": "y" * 2000}))
        client = await KubernetesClient.connect(Kubeconfig(str(api.kubeconfig(tmp_path / "c")), None))
        with pytest.raises(ApiError, match="more than 1000 bytes"):
            await client.get_json("/api/v1/namespaces/shop/services/x")
        await client.aclose()


LEAN = """
import asyncio, sys
from sidecar.discovery.kubeconfig import Kubeconfig
from sidecar.discovery.kubernetes_client import KubernetesClient
assert not any(name.startswith("kubernetes_asyncio") for name in sys.modules)
client = asyncio.run(KubernetesClient.connect(Kubeconfig(sys.argv[1], None)))
print(any("kubernetes_asyncio.client.models." in name for name in sys.modules), len(sys.modules))
assert "kubernetes_asyncio" not in sys.modules
import kubernetes_asyncio
assert kubernetes_asyncio.client.CoreV1Api
"""
CHANGED = """
import asyncio, sys
from sidecar.discovery import kubernetes_client
from sidecar.discovery.kubeconfig import Kubeconfig
kubernetes_client._PACKAGES += ("kubernetes_asyncio.client.configuration",)  # as if the package had another shape
asyncio.run(kubernetes_client.KubernetesClient.connect(Kubeconfig(sys.argv[1], None)))
print("connected", len(sys.modules))
"""


def run(script: str, path: Path) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", script, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_lean_import_leaves_the_models_out_and_the_package_usable_for_others(tmp_path: Path) -> None:
    written(tmp_path / "c", GOOD)
    models, modules = run(LEAN, tmp_path / "c")
    assert models == "False"
    assert int(modules) < 800


def test_a_package_of_another_shape_is_imported_plainly(tmp_path: Path) -> None:
    written(tmp_path / "c", GOOD)
    word, modules = run(CHANGED, tmp_path / "c")
    assert word == "connected"
    assert int(modules) > 1000


# --- where the configuration is


def test_the_setting_comes_first_then_the_cluster_then_the_variable(service_account: Path) -> None:
    cluster = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    everything = cluster | {"KUBECONFIG": "/a"}
    assert find_access(Kubernetes(kubeconfig="/b", context="x"), everything, service_account) == Kubeconfig("/b", "x")
    assert find_access(Kubernetes(), everything, service_account) == InCluster(service_account, everything)
    assert find_access(Kubernetes(), everything, service_account / "none") == Kubeconfig("/a", None)
    assert find_access(Kubernetes(), {"KUBECONFIG": "/a"}, service_account) == Kubeconfig("/a", None)
    assert find_access(Kubernetes(), {}, service_account) is None


def test_the_own_namespace(service_account: Path, tmp_path: Path) -> None:
    assert own_namespace(Kubernetes(namespace="mine"), None) == "mine"
    assert own_namespace(Kubernetes(), None) == "default"
    assert own_namespace(Kubernetes(), InCluster(service_account, {})) == "shop"
    assert own_namespace(Kubernetes(), InCluster(tmp_path / "none", {})) == "default"
    assert own_namespace(Kubernetes(), written(tmp_path / "c", GOOD)) == "shop"


def test_several_kubeconfigs_are_one(tmp_path: Path) -> None:
    written(tmp_path / "a", {"current-context": "a", "contexts": GOOD["contexts"]})
    written(tmp_path / "b", {key: GOOD[key] for key in ("clusters", "users")})
    joined = Kubeconfig(f"{tmp_path / 'a'}:{tmp_path / 'none'}:{tmp_path / 'b'}", None)
    assert check_kubeconfig(joined).server == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"current-context": "x"}, "context 'x' not found; contexts: a"),
        ({"current-context": None}, "no current-context"),
        ({"contexts": None}, "context 'a' not found; contexts: none"),
        ({"contexts": "nonsense"}, "contexts is no list"),
        ({"contexts": [{"name": "a"}]}, "entry 'a' has no context"),
        ({"clusters": []}, "names cluster 'c', which is not there"),
        ({"clusters": [{"name": "c", "cluster": {"server": "x:1"}}]}, "no server such as https://host:6443, but 'x:1'"),
        ({"clusters": [{"name": "c"}]}, "entry 'c' has no cluster"),
        ({"users": []}, "names user 'u', which is not there"),
    ],
)
def test_a_bad_kubeconfig_names_what_is_wrong(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    access = written(tmp_path / "c", GOOD | change)
    with pytest.raises(ConfigError) as failure:
        check_kubeconfig(access)
    assert str(failure.value).startswith(f"kubeconfig {tmp_path / 'c'}: ")
    assert expected in str(failure.value)


def test_a_kubeconfig_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for content, expected in (("[", "is no YAML"), ("3", "expected a mapping"), ("", "expected a mapping")):
        with pytest.raises(ConfigError, match=expected):
            check_kubeconfig(written(tmp_path / "c", content))
    with pytest.raises(ConfigError, match="no such file"):
        check_kubeconfig(Kubeconfig(str(tmp_path / "none"), None))
    with pytest.raises(ConfigError, match="cannot be read"):
        check_kubeconfig(Kubeconfig(str(tmp_path), None))


async def test_a_bad_variable_hurts_only_those_who_need_a_cluster(tmp_path: Path) -> None:
    environ = {"KUBECONFIG": str(tmp_path / "none")}
    async with discovery_for(None, environ=environ) as discovery:
        assert discovery.namespace == "default"
        with pytest.raises(ConfigError, match="no such file"):
            discovery.check()
    with pytest.raises(ConfigError, match="no such file"):
        discovery_for(tmp_path / "none")
    written(tmp_path / "c", GOOD)
    discovery_for(tmp_path / "c").check()
    discovery_for(None).check()


async def test_a_kubeconfig_that_went_bad_is_a_problem_of_the_source(tmp_path: Path) -> None:
    access = written(tmp_path / "c", GOOD)
    async with discovery_for(Path(access.paths)) as discovery:
        written(tmp_path / "c", "[")
        async with following(discovery.source(service("orders"))) as found:
            await found.until(lambda one: "is no YAML" in one.last.problem)

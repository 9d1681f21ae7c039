"""A real etcd and kube-apiserver for tests, from the binaries of `KUBEBUILDER_ASSETS`; no controllers, no node.

Everything listens on one address of a network namespace of its own, so ports are fixed. No controllers: nobody makes
service accounts or slices but the test.
"""

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import helm
from tests.support.netns import ADDRESS

PORT = 6443
ETCD_PORT = 2379
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
READY_SECONDS = 60


def obstacle() -> str | None:
    """Why no API server can be started here, or None."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return "needs KUBEBUILDER_ASSETS, a folder with etcd, kube-apiserver and kubectl"
    missing = [name for name in ("etcd", "kube-apiserver", "kubectl") if not os.access(Path(assets, name), os.X_OK)]
    return f"KUBEBUILDER_ASSETS ({assets}) lacks {', '.join(missing)}" if missing else None


class ApiError(Exception):
    """The API server refused: `status` and the text of its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class ControlPlane:
    """One etcd and one API server. `folder` takes certificates, data and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.assets = Path(os.environ["KUBEBUILDER_ASSETS"])
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None
        _make_certificates(folder)
        self.kubeconfig = self.write_kubeconfig("admin", {"client-certificate": "admin.crt", "client-key": "admin.key"})
        self._context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        self._anonymous = ssl.create_default_context(cafile=str(folder / "ca.crt"))

    # --- processes ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start both and wait until the API server is ready."""
        url, peer = f"http://{ADDRESS}:{ETCD_PORT}", f"http://{ADDRESS}:{ETCD_PORT + 1}"
        arguments = [
            *("--data-dir", "etcd", "--log-level", "warn"),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *(
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
                "--initial-cluster",
                f"default={peer}",
            ),
        ]
        self._etcd = self._spawn("etcd", arguments)
        self.start_api()

    def start_api(self, *flags: str) -> None:
        """Start the API server with further flags and wait until it is ready."""
        arguments = [
            *("--etcd-servers", f"http://{ADDRESS}:{ETCD_PORT}"),
            *("--bind-address", ADDRESS, "--advertise-address", ADDRESS, "--secure-port", str(PORT)),
            *("--tls-cert-file", "server.crt", "--tls-private-key-file", "server.key", "--client-ca-file", "ca.crt"),
            *("--service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            *("--service-account-key-file", "sa.pub", "--service-account-signing-key-file", "sa.key"),
            *("--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16"),
            *("--endpoint-reconciler-type", "none", "--allow-privileged"),
        ]
        self._api = self._spawn("kube-apiserver", [*arguments, *flags])
        until(self._ready, f"the API server is ready (see {self.folder}/kube-apiserver.log)", READY_SECONDS)

    def kill_api(self) -> None:
        """End the API server at once, as a crash does."""
        _end(self._api, signal.SIGKILL)
        self._api = None

    def restart_api(self, *flags: str) -> None:
        """A crash and a start, with other flags if given."""
        self.kill_api()
        self.start_api(*flags)

    def stop(self) -> None:
        """End both."""
        self.kill_api()
        _end(self._etcd, signal.SIGKILL)
        self._etcd = None

    def compact(self) -> int:
        """Make etcd forget all revisions before the present one, which is returned."""
        revision = int(self._ask_etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"])
        self._ask_etcd("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    # --- the API -----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """One request, as cluster admin or with a token; raises ApiError for anything but success."""
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        context = self._context if token is None else self._anonymous
        connection = http.client.HTTPSConnection(ADDRESS, PORT, timeout=10, context=context)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status >= 300:
            raise ApiError(answer.status, text)
        return dict(json.loads(text)) if text.startswith("{") else {"text": text}

    def requests(self, verb: str, resource: str) -> int:
        """How many requests of this kind the server has answered since its start, as its own metrics tell."""
        wanted = (f'resource="{resource}"', f'verb="{verb}"')
        lines = self.call("GET", "/metrics")["text"].splitlines()
        counts = [line for line in lines if line.startswith("apiserver_request_total{")]
        return sum(int(line.rsplit(" ", 1)[1]) for line in counts if all(label in line for label in wanted))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as cluster admin and return what it prints."""
        command = [str(self.assets / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def create_namespace(self, name: str) -> None:
        """A namespace with the service account `default`, which a controller would make."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.create_service_account(name, "default")

    def install_chart(self, namespace: str, *values: str) -> None:
        """What the sidecar chart's installation into the namespace creates."""
        objects = helm.template(
            helm.CHARTS / "sidecar", "web", namespace, "--set", "injection.policy=disabled", *values
        )
        everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "-f", "-", stdin=everything)

    def create_service_account(self, namespace: str, name: str) -> None:
        self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})

    def token(self, namespace: str, account: str, *, bound_to: str | None = None) -> str:
        """A token of the service account (TokenRequest), as the kubelet mounts one; valid as long as the Secret."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        spec: dict[str, Any] = {"expirationSeconds": 3600}
        if bound_to is not None:
            self.call("POST", f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": bound_to}})
            spec["boundObjectRef"] = {"kind": "Secret", "apiVersion": "v1", "name": bound_to}
        return str(self.call("POST", path, {"spec": spec})["status"]["token"])

    def put_slice(self, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create the EndpointSlice, or give the one of its name these endpoints and ports."""
        path = SLICES.format(namespace)
        try:
            return self.call("POST", path, manifest)
        except ApiError as error:
            if error.status != 409:
                raise
        change = {key: manifest[key] for key in ("endpoints", "ports")}
        return self.call("PATCH", f"{path}/{manifest['metadata']['name']}", change)

    def watch_events(self, namespace: str, version: str) -> list[dict[str, Any]]:
        """The events that a plain watch from `version` brings within a second."""
        query = urllib.parse.urlencode({"watch": "1", "resourceVersion": version, "timeoutSeconds": "1"})
        text = self.kubectl("get", "--raw", f"{SLICES.format(namespace)}?{query}")
        return [json.loads(line) for line in text.splitlines() if line]

    # --- files -------------------------------------------------------------------------------------------------------

    def write_kubeconfig(self, name: str, user: dict[str, str], namespace: str = "default") -> Path:
        """A kubeconfig that signs in as `user` (say `{"tokenFile": …}`); relative files are those of the folder."""
        cluster = {"server": f"https://{ADDRESS}:{PORT}", "certificate-authority": str(self.folder / "ca.crt")}
        user = {key: str(self.folder / value) for key, value in user.items()}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
            "current-context": "test",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def _spawn(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([str(self.assets / name), *arguments], cwd=self.folder, stdout=log, stderr=log)

    def _ready(self) -> bool:
        process = self._api
        assert process is not None
        if process.poll() is not None:
            log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
            raise AssertionError(f"kube-apiserver ended: {log[-2000:]}")
        try:
            return self.call("GET", "/readyz")["text"] == "ok"
        except (OSError, ApiError, http.client.HTTPException):
            return False

    def _ask_etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(ADDRESS, ETCD_PORT, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            text = answer.read().decode()
        assert answer.status == 200, text
        return dict(json.loads(text))


def endpoint_slice(
    service: str, addresses: list[str], port: int, *, name: str = "", ready: bool = True, port_name: str = ""
) -> dict[str, Any]:
    """An EndpointSlice manifest of IPv4 addresses on one port."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name or f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Poll, since a process of its own has nothing to wait on; fails naming `what` did not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None:
        process.send_signal(number)
        process.wait(timeout=10)


def _make_certificates(folder: Path) -> None:
    names = f"IP:{ADDRESS},IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    script = f"""
    set -e
    key() {{ openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }}
    issue() {{
      key "$1"
      openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
      printf '%s\\n' "$3" >"$1.ext"
      openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.crt"
    }}
    key ca
    openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 2 -out ca.crt
    issue server /CN=kube-apiserver subjectAltName={names}
    issue admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
    """
    subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True)

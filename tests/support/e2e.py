"""A real cluster for end-to-end tests, by kubectl and helm: `KUBECONFIG` names it.

`E2E_IMAGE` is the sidecar's image as the nodes know it; since it has Python, the sample shop's apps run it too.
`E2E_DISTURB` is a command that is given `crash SECONDS` or `freeze SECONDS` and does that to the API server.
"""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "sidecar"
SHOP = "shop"
RELEASE, SYSTEM = "sidecar", "sidecar-system"
IMAGE = os.environ.get("E2E_IMAGE", "local.test/sidecar:dev")
SECONDS = 120  # that a shared machine may need for what takes seconds
_APP: dict[str, Any] = {
    "image": IMAGE,
    "imagePullPolicy": "Never",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "app", "mountPath": "/app", "readOnly": True}],
}
_PATIENT = {"periodSeconds": 1, "timeoutSeconds": 5}


def obstacle() -> str | None:
    """Why the tests cannot run here, or None."""
    if os.environ.get("SIDECAR_E2E") != "1":
        return "needs a cluster that may be changed: SIDECAR_E2E=1, with KUBECONFIG and E2E_IMAGE"
    missing = [name for name in ("kubectl", "helm") if shutil.which(name) is None]
    return f"needs {' and '.join(missing)}" if missing else None


def run(*command: str, stdin: str | None = None, seconds: float = SECONDS) -> str:
    """What the command prints; fails with its complaint."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    return run("kubectl", *arguments, stdin=stdin)


def get(*arguments: str, namespace: str = SHOP) -> dict[str, Any]:
    return dict(json.loads(kubectl("--namespace", namespace, "get", *arguments, "--output", "json")))


def apply(*objects: dict[str, Any]) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects))


def pods(app: str) -> list[dict[str, Any]]:
    """The pods of an app that are not on their way out."""
    found = get("pods", "--selector", f"app.kubernetes.io/name={app}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def execute(app: str, *arguments: str) -> str:
    """Run the app's program in its first pod."""
    pod = pods(app)[0]["metadata"]["name"]
    return kubectl("-n", SHOP, "exec", pod, "-c", "app", "--", "python3", "/app/app.py", *arguments)


def rolled_out(app: str) -> None:
    kubectl("-n", SHOP, "rollout", "status", f"deployment/{app}", f"--timeout={SECONDS}s")


def until(condition: Any, what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def install(*values: str) -> None:
    repository, _, tag = IMAGE.rpartition(":")
    settings = f"image.repository={repository},image.tag={tag},image.pullPolicy=Never"
    run(
        *("helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM, "--create-namespace", "--wait"),
        *("--set", settings, *values),
    )


def policy_acts() -> bool:
    """Whether a new pod of the shop would get a sidecar: the API server takes up a new policy within two seconds."""
    pod = {"apiVersion": "v1", "kind": "Pod", **template("probe", "serve")}
    pod["metadata"]["name"] = "probe"
    return "sidecar-proxy.io/status" in kubectl(
        "-n", SHOP, "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod)
    )


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def template(name: str, *arguments: str, env: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod template that runs the shop's program."""
    container = {
        "name": "app",
        "command": ["python3", "/app/app.py", *arguments],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        **_APP,
    }
    if arguments == ("serve",):
        container |= {
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, **_PATIENT},
        }
    return {
        "metadata": {"labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "terminationGracePeriodSeconds": 15,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "app", "configMap": {"name": "app"}}],
            **spec,
        },
    }


def deployment(name: str, replicas: int, *arguments: str, **env: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template(name, *arguments, env=env),
        },
    }


def service(name: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": {"app.kubernetes.io/name": name}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": SHOP}, "spec": spec}


def program() -> dict[str, Any]:
    """The shop's program as a ConfigMap."""
    text = (ROOT / "tests" / "e2e" / "shop" / "app.py").read_text()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "app", "namespace": SHOP},
        "data": {"app.py": text},
    }


def take(load: str = "load") -> dict[str, Any]:
    """What the load has seen since the last time."""
    return dict(json.loads(execute(load, "take")))


TABLE: list[str] = []


@contextmanager
def scenario(name: str, *, tail: float = 3.0, lost: int = 0) -> Iterator[dict[str, Any]]:
    """Load goes on while the block acts and `tail` seconds more; prints the figures; at most `lost` may fail."""
    take()
    seen: dict[str, Any] = {}
    yield seen
    time.sleep(tail)
    seen |= take()
    figures = "{seconds:6.1f} s  sent {sent:5d}  failed {failed:3d}  longest gap {gap:6.3f} s  slowest {slowest:6.3f} s"
    line = f"{name:<34} {figures.format(**seen)}"
    TABLE.append(line)
    print(f"\n{line}", flush=True)
    assert seen["sent"] > 20, seen
    assert seen["failed"] <= lost, seen["failures"]


def disturb(what: str, seconds: float) -> None:
    """`crash` or `freeze` the API server for so long."""
    run(*shlex.split(os.environ["E2E_DISTURB"]), what, str(seconds), seconds=seconds + SECONDS)

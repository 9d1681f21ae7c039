"""What `make kind` is made of, as far as it can be tried without Docker."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from deploy.kind.show_trace import lines
from tests.support import helm

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "kind" / "up.sh"
APP = helm.CHARTS / "example-app" / "files" / "app.py"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def serve() -> Iterator[Callable[[str], int]]:
    """Starts sample apps: `serve(upstream)` gives the port of one that answers."""
    running: list[subprocess.Popen[bytes]] = []

    def start(upstream: str) -> int:
        port = free_port()
        environment = {**os.environ, "PORT": str(port), "UPSTREAM": upstream, "HOSTNAME": f"pod-{port}"}
        command = [sys.executable, str(APP), "serve"]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return port

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=10)


def test_the_script_is_valid_shell() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_the_script_passes_shellcheck() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)


def test_the_script_names_the_tool_that_is_missing(tmp_path: Path) -> None:
    dirname, bash = shutil.which("dirname"), shutil.which("bash")
    assert dirname is not None
    assert bash is not None
    (tmp_path / "dirname").symlink_to(dirname)
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run([bash, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("up.sh: 'docker' is missing; see https://")


def test_the_cluster_has_two_zones() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    zones = [node["labels"]["topology.kubernetes.io/zone"] for node in config["nodes"] if node["role"] == "worker"]
    assert zones == ["zone-1", "zone-2"]


def test_the_pods_of_the_cluster_run_the_image_that_was_built(charts: Path) -> None:
    values = str(ROOT / "deploy" / "kind" / "values.yaml")
    objects = helm.template(charts / "example-app", "web", "shop", "--values", values)
    (deployment,) = helm.of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert [one["image"] for one in (*pod["initContainers"], *pod["containers"])] == ["sidecar:dev", "sidecar:dev"]
    assert {one["imagePullPolicy"] for one in (*pod["initContainers"], *pod["containers"])} == {"Never"}


def test_the_sample_app_hands_the_trace_on(serve: Callable[[str], int]) -> None:
    orders = serve("")
    web = serve(f"http://127.0.0.1:{orders}/")
    command = [sys.executable, str(APP), "get", f"http://127.0.0.1:{web}/x"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout)
    assert len(said["trace"]) == 32
    assert said["answer"]["pod"] == f"pod-{web}"
    upstream = said["answer"]["upstream"]
    assert upstream["pod"] == f"pod-{orders}"
    assert upstream["traceparent"].split("-")[1] == said["trace"]


def test_a_trace_is_shown_as_a_tree_in_order_of_time() -> None:
    def span(name: str, own: str, parent: str | None, start: int, **tags: object) -> dict[str, object]:
        references = [{"refType": "CHILD_OF", "spanID": parent}] if parent else []
        listed = [{"key": key.replace("_", ".").replace("..", "_"), "value": value} for key, value in tags.items()]
        return {"operationName": name, "spanID": own, "references": references, "startTime": start, "duration": 1500,
                "tags": listed, "service": "web"}  # fmt: skip

    tree = lines(
        [
            span("GET", "c", "b", 3, span_kind="client", http_response_status__code=200),
            span("GET", "b", "outside", 1, span_kind="server"),
            span("GET", "d", "b", 2, span_kind="client", error_type="connect_failed"),
        ]
    )
    assert [line.split() for line in tree] == [
        ["SERVER", "GET", "web", "1.5", "ms"],
        ["CLIENT", "GET", "web", "1.5", "ms", "error=connect_failed"],
        ["CLIENT", "GET", "web", "1.5", "ms", "status=200"],
    ]
    assert [len(line) - len(line.lstrip()) for line in tree] == [0, 2, 2]

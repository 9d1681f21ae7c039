"""What a pod has, as processes of the machine: a real sidecar, and upstreams that say their name.

For tests in a network namespace of their own (tests/support/netns.py): ports are those of the chart.
"""

import contextlib
import http.client
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.control_plane import PORT, until
from tests.support.netns import ADDRESS

OUTBOUND, ADMIN, PROBE = 15001, 15020, 15021
START_SECONDS = 20
# A mount namespace with the service account's files where in-cluster clients look: `sh -c MOUNT sh FOLDER COMMAND…`.
MOUNT = """
set -e
run=$(readlink -f /var/run)
mount -t tmpfs tmpfs "$run"
mkdir -p "$run/secrets/kubernetes.io/serviceaccount"
mount --bind "$1" "$run/secrets/kubernetes.io/serviceaccount"
shift
exec "$@"
"""


class Answer(NamedTuple):
    """What a client got."""

    status: int
    body: str
    proxy_status: str


def send(host: str, port: int = OUTBOUND, path: str = "/", *, absolute: bool = True) -> Answer:
    """GET through the outbound listener, as a client with `HTTP_PROXY` sends it; no connection is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", f"http://{host}{path}" if absolute else path, headers={"Host": host})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(), answer.getheader("Proxy-Status", ""))


def ask_admin(path: str) -> str:
    """The body of a page of the admin listener."""
    return send(f"127.0.0.1:{ADMIN}", ADMIN, path, absolute=False).body


def spread(host: str, requests: int) -> Counter[str]:
    """How many of the requests each upstream answered; every one must be answered 200."""
    answers = [send(host) for _ in range(requests)]
    assert {answer.status for answer in answers} == {200}, answers
    return Counter(answer.body for answer in answers)


class ServiceAccountFolder:
    """The files of a projected token volume; `rotate` replaces the token as the kubelet does, in one step."""

    def __init__(self, folder: Path, ca: Path, namespace: str, token: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "ca.crt").write_bytes(ca.read_bytes())
        (folder / "namespace").write_text(namespace)
        self.rotate(token)

    def rotate(self, token: str) -> None:
        fresh = self.folder / "token.fresh"
        fresh.write_text(token)
        fresh.rename(self.folder / "token")


class Sidecar:
    """`python -m sidecar run`, in the cluster as far as it can see; ready when the block begins."""

    def __init__(self, config: str, account: ServiceAccountFolder, folder: Path) -> None:
        file = folder / "sidecar.yaml"
        file.write_text(config)
        self._log = folder / "sidecar.log"
        run = [sys.executable, "-m", "sidecar", "run", "--config", str(file)]
        self._command = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(account.folder), *run]
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "KUBERNETES_SERVICE_HOST": ADDRESS,
            "KUBERNETES_SERVICE_PORT": str(PORT),
            "OTEL_SDK_DISABLED": "true",
        }

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        try:
            until(self._ready, "the sidecar is ready", START_SECONDS)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        if error is not None:
            error.add_note(f"the sidecar's log:\n{self.log}")
        else:
            assert code == 0, self.log

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def _ready(self) -> bool:
        assert self._process.poll() is None, f"the sidecar ended: {self.log}"
        return "ready:" in self.log


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    name = ""

    def do_GET(self) -> None:
        body = self.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def upstream(name: str, host: str = ADDRESS, port: int = 0) -> Iterator[int]:
    """An HTTP server that answers with its name; gives its port."""
    handler = type("Handler", (_Handler,), {"name": name})
    server = http.server.ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def address(host: str) -> Iterator[None]:
    """A further address of the namespace's loopback, say a Service's cluster IP."""
    subprocess.run(["ip", "address", "add", f"{host}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "delete", f"{host}/32", "dev", "lo"], check=True)


class Traffic:
    """Requests one after the other from a thread, for the time of the block; what was not 200 is in `failures`."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.sent > 0, "traffic flows")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                answer = send(self._host)
            except OSError as error:
                self.failures.append(repr(error))
            else:
                if answer.status != 200:
                    self.failures.append(str(answer))
            self.sent += 1

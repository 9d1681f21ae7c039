"""The sample shop's one program: server, load, collector; each a word on the command line.

serve               answers on 8080 with the pod's name; UPSTREAM is asked first; DELAY seconds are waited; every
                    FLAKY-th request is answered 503; POST /v1/traces is counted, as a collector would take it
load URL            requests without end through HTTP_PROXY: GET and POST in turn, from four threads
take                what the load of this pod has seen since the last time, as JSON; then it counts from nothing
get URL             one request through HTTP_PROXY; prints the answer
websocket HOST S    upgrades a connection to HOST through the proxy and has messages echoed for S seconds
farewell ADDRESS    asks ADDRESS on one connection until an answer says `Connection: close`; counts the others
"""

import base64
import http.client
import http.server
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter

WORKERS = 4
PAUSE = 0.03  # seconds between two requests of a worker
CONTROL = 9999  # loopback


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class App(http.server.BaseHTTPRequestHandler):
    """Says which pod answers, and what it was asked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    numbers = itertools.count(1)
    exports = itertools.count(1)
    exported = 0

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, {})
        elif self.path == "/exported":
            self.answer(200, {"exported": App.exported})
        elif self.headers.get("Upgrade") == "echo":
            self.echo()
        else:
            self.answer(*self.sell())

    def sell(self) -> tuple[int, dict[str, object]]:
        """The answer of the shop's own business."""
        time.sleep(float(os.environ.get("DELAY", "0")))
        flaky = int(os.environ.get("FLAKY", "0"))
        if flaky and next(self.numbers) % flaky == 0:
            return 503, {"flaky": True}
        said: dict[str, object] = {"pod": os.environ["HOSTNAME"], "headers": dict(self.headers)}
        if upstream := os.environ.get("UPSTREAM"):
            passed = {name: self.headers[name] for name in ("traceparent", "tracestate") if name in self.headers}
            try:
                with urllib.request.urlopen(urllib.request.Request(upstream, headers=passed), timeout=10) as answer:
                    said["upstream"] = json.load(answer)
            except OSError as error:
                return 502, {"pod": os.environ["HOSTNAME"], "upstream failed": str(error)}
        return 200, said

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/v1/traces":
            App.exported = next(self.exports)
            self.answer(200, None)
            return
        self.answer(200, {"pod": os.environ["HOSTNAME"], "bytes": len(body)})

    def echo(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(1024):
            self.connection.sendall(data)

    def answer(self, status: int, said: object) -> None:
        body = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Load:
    """Counts of the load, shared by its threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.started = self.last = time.monotonic()
        self.sent, self.gap, self.longest = 0, 0.0, 0.0
        self.failures: list[str] = []
        self.pods: Counter[str] = Counter()

    def note(self, pod: str, failure: str, seconds: float) -> None:
        with self.lock:
            self.sent += 1
            self.longest = max(self.longest, seconds)
            if failure:
                self.failures.append(f"{time.monotonic() - self.started:.2f}s {failure}")
            else:
                self.pods[pod] += 1
                now = time.monotonic()
                self.gap, self.last = max(self.gap, now - self.last), now

    def take(self) -> dict[str, object]:
        with self.lock:
            gap = max(self.gap, time.monotonic() - self.last)
            seen = {
                "seconds": round(time.monotonic() - self.started, 2),
                "sent": self.sent,
                "failed": len(self.failures),
                "gap": round(gap, 3),
                "slowest": round(self.longest, 3),
                "failures": self.failures[:10],
                "pods": dict(self.pods),
            }
            self.clear()
            return seen


def work(load: Load, url: str) -> None:
    proxy = os.environ["http_proxy"].removeprefix("http://")
    connection = http.client.HTTPConnection(proxy, timeout=15)
    for number in itertools.count():
        method, body = ("POST", b"x" * 100) if number % 2 else ("GET", None)
        before = time.monotonic()
        try:
            connection.request(method, url, body)
            answer = connection.getresponse()
            text = answer.read().decode()
            failure = (
                ""
                if answer.status == 200
                else f"{method} {answer.status} {answer.getheader('Proxy-Status')} {text[:300]}"
            )
            pod = json.loads(text)["pod"] if not failure else ""
        except (OSError, http.client.HTTPException) as error:
            failure, pod = f"{method} {error!r}", ""
            connection.close()
        load.note(pod, failure, time.monotonic() - before)
        time.sleep(PAUSE)


def run_load(url: str) -> None:
    load = Load()

    class Control(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(load.take()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    for _ in range(WORKERS):
        threading.Thread(target=work, args=(load, url), daemon=True).start()
    http.server.HTTPServer(("127.0.0.1", CONTROL), Control).serve_forever()


def websocket(host: str, seconds: float) -> None:
    """Bytes there and back over an upgraded connection, and how it ended."""
    proxy, port = os.environ["http_proxy"].removeprefix("http://").split(":")
    echoed = 0
    with socket.create_connection((proxy, int(port)), timeout=10) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        fields = f"Host: {host}\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-Key: {key}\r\n"
        head = f"GET http://{host}/ HTTP/1.1\r\n{fields}\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            connection.sendall(b"ping")
            if connection.recv(4) != b"ping":
                break
            echoed += 1
            time.sleep(0.2)
    print(json.dumps({"echoed": echoed}))


def farewell(address: str) -> None:
    """How many answers came until one told to go elsewhere, and with which status that one came."""
    connection = http.client.HTTPConnection(address, timeout=10)
    for number in range(1200):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        if answer.getheader("Connection") == "close":
            print(json.dumps({"before": number, "status": answer.status}))
            return
        time.sleep(0.05)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    match sys.argv[1:]:
        case ["serve"]:
            Server(("", 8080), App).serve_forever()
        case ["load", url]:
            run_load(url)
        case ["take"]:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://127.0.0.1:{CONTROL}/"
            ) as answer:
                print(answer.read().decode())
        case ["get", url]:
            with urllib.request.urlopen(url, timeout=20) as answer:
                print(answer.read().decode())
        case ["websocket", host, seconds]:
            websocket(host, float(seconds))
        case ["farewell", address]:
            farewell(address)


if __name__ == "__main__":
    main()

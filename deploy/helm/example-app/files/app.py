"""A sample app: says which pod it is, and asks the app upstream of it, if there is one.

python app.py serve         answers on PORT (8080); UPSTREAM is the URL it asks
python app.py get URL       one traced request, as the app would send it; prints trace id and answer
Both go through the proxy that HTTP_PROXY names. The trace goes on because the app hands `traceparent` and `tracestate`
on: no proxy can do that for it.
"""

import http.server
import json
import os
import secrets
import sys
import urllib.request

TRACE_HEADERS = ("traceparent", "tracestate")


def ask(url: str, headers: dict[str, str]) -> object:
    """The JSON answer of the URL."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
        return json.load(answer)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say who answers, and what the upstream said; `/healthz` is for the kubelet and asks nobody."""
        pod, trace = os.environ.get("HOSTNAME", ""), self.headers.get("traceparent", "")
        said: dict[str, object] = {"pod": pod, "path": self.path, "traceparent": trace}
        if self.path != "/healthz" and (upstream := os.environ.get("UPSTREAM")):
            traced = {name: self.headers[name] for name in TRACE_HEADERS if name in self.headers}
            said["upstream"] = ask(upstream, traced)
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["serve"]:
        http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
    _, url = sys.argv[1:]
    trace = secrets.token_hex(16)
    answer = ask(url, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
    print(json.dumps({"trace": trace, "answer": answer}))


if __name__ == "__main__":
    main()

"""Shows a trace of the kind cluster as a tree, asked from Jaeger through the API server. Usage: NAMESPACE TRACE-ID."""

import json
import os
import subprocess
import sys
import time
from typing import Any

DEADLINE_SECONDS = 30.0
SETTLED_ROUNDS = 3  # looks without a new span, a second apart, after which the trace is taken for whole


def fetch(namespace: str, trace: str) -> list[dict[str, Any]]:
    """The spans that Jaeger has of the trace so far."""
    path = f"/api/v1/namespaces/{namespace}/services/jaeger:16686/proxy/api/traces/{trace}"
    command = ["kubectl", "--context", os.environ["KUBE_CONTEXT"], "get", "--raw", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        return []  # not found: nothing has come yet
    data = json.loads(done.stdout)["data"]
    return [
        {**span, "service": found["processes"][span["processID"]]["serviceName"]}
        for found in data
        for span in found["spans"]
    ]


def lines(spans: list[dict[str, Any]]) -> list[str]:
    """One line a span, children below their parent."""
    known = {span["spanID"] for span in spans}
    children: dict[object, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: span["startTime"]):
        parent = next((ref["spanID"] for ref in span["references"] if ref["spanID"] in known), None)
        children.setdefault(parent, []).append(span)

    def below(parent: object, depth: int) -> list[str]:
        return [
            line
            for span in children.get(parent, [])
            for line in (describe(span, depth), *below(span["spanID"], depth + 1))
        ]

    return below(None, 0)


def describe(span: dict[str, Any], depth: int) -> str:
    """`SERVER GET web 3.1 ms status=200 peer=10.244.1.7`."""
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    kind = str(tags.get("span.kind", "")).upper()
    facts = " ".join(
        f"{label}={tags[key]}"
        for label, key in (
            ("status", "http.response.status_code"),
            ("peer", "network.peer.address"),
            ("resend", "http.request.resend_count"),
            ("error", "error.type"),
        )
        if key in tags
    )
    name = f"{'  ' * depth}{kind} {span['operationName']}"
    return f"{name:<44} {span['service']:<10} {span['duration'] / 1000:8.1f} ms  {facts}"


def main() -> int:
    """Wait until the trace no longer grows, and print it."""
    namespace, trace = sys.argv[1:]
    deadline = time.monotonic() + DEADLINE_SECONDS
    spans: list[dict[str, Any]] = []
    settled = 0
    while time.monotonic() < deadline and settled < SETTLED_ROUNDS:
        found = fetch(namespace, trace)
        settled = settled + 1 if found and len(found) == len(spans) else 0
        spans = found
        time.sleep(1)
    if not spans:
        sys.stderr.write(f"trace {trace} has not come to Jaeger within {DEADLINE_SECONDS:.0f} s\n")
        return 1
    sys.stdout.write("\n".join(lines(spans)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

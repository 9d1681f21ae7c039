#!/usr/bin/env bash
# A kind cluster with a traced sample shop: makes the cluster, builds and loads the image, installs the charts, sends one
# request through three sidecars and shows its trace. Run it again after a change: it takes up what changed.
# Usage: deploy/kind/up.sh        deploy/kind/up.sh down   removes the cluster
# Settings: KIND_NODE_IMAGE (kindest/node:…), CONTAINER_TOOL (docker), WAIT (180s)
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cluster=sidecar
image=sidecar:dev
namespace=shop
tool=${CONTAINER_TOOL:-docker}
wait=${WAIT:-180s}

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
need() { command -v "$1" >/dev/null || { echo "up.sh: '$1' is missing; see $2" >&2; exit 2; }; }
kube() { kubectl --context "kind-$cluster" "$@"; }

need "$tool" https://docs.docker.com/engine/install/
need kind https://kind.sigs.k8s.io/docs/user/quick-start/
if [ "${1:-}" = down ]; then
  exec kind delete cluster --name "$cluster"
fi
need kubectl https://kubernetes.io/docs/tasks/tools/
need helm https://helm.sh/docs/intro/install/
need python3 https://www.python.org/
"$tool" info >/dev/null 2>&1 || { echo "up.sh: '$tool' does not answer; start it first" >&2; exit 2; }

say "Cluster"
if ! kind get clusters 2>/dev/null | grep -qx "$cluster"; then
  kind create cluster --name "$cluster" --config "$root/kind-config.yaml" --wait "$wait" \
    ${KIND_NODE_IMAGE:+--image "$KIND_NODE_IMAGE"}
fi

say "Image"
"$tool" build --tag "$image" "$root"
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
"$tool" save "$image" >"$archive"
kind load image-archive "$archive" --name "$cluster"

say "Tracing back end"
kube apply --filename "$root/deploy/kind/shop.yaml"

say "Charts"
helm dependency update "$root/deploy/helm/example-app" >/dev/null
install() { # RELEASE [HELM ARGUMENT…]
  helm upgrade "$1" "$root/deploy/helm/example-app" --install --kube-context "kind-$cluster" --namespace "$namespace" \
    --values "$root/deploy/kind/values.yaml" --wait --timeout "$wait" "${@:2}" >/dev/null
  kube --namespace "$namespace" rollout restart "deployment/$1" >/dev/null # a new image has the same tag
  kube --namespace "$namespace" rollout status "deployment/$1" --timeout "$wait"
}
kube --namespace "$namespace" rollout status deployment/jaeger --timeout "$wait"
install orders
install web --set upstream=http://orders.shop/

say "One request: app → sidecar → web's sidecar → web → its sidecar → orders' sidecar → orders"
answer=$(kube --namespace "$namespace" exec deployment/web --container app -- python3 /app/app.py get http://web.shop/)
echo "$answer"

say "Its trace"
trace=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["trace"])' <<<"$answer")
KUBE_CONTEXT="kind-$cluster" python3 "$root/deploy/kind/show_trace.py" "$namespace" "$trace"

say "Look around"
cat <<TEXT
  kubectl --context kind-$cluster --namespace $namespace port-forward service/jaeger 16686   # then http://127.0.0.1:16686
  kubectl --context kind-$cluster --namespace $namespace port-forward deployment/web 15020   # then http://127.0.0.1:15020/clusters
  kubectl --context kind-$cluster --namespace $namespace scale deployment/orders --replicas 4
  deploy/kind/up.sh down
TEXT

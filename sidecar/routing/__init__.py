"""Which rule takes a request, and which of its backends: HTTPRoute (gateway.networking.k8s.io/v1) to the letter.

Pure: takes the routes of one listener and answers for one request at a time; nothing of the request is changed.
`docs/routes.md` tells the rules in words.
"""

from sidecar.routing.backends import Backends
from sidecar.routing.explain import Verdict
from sidecar.routing.matches import Matched
from sidecar.routing.router import Router

__all__ = ["Backends", "Matched", "Router", "Verdict"]

"""The few types that everybody speaks: addresses, endpoints, headers, requests, responses, attempts.

Bytes of the wire stay bytes: a target is never decoded, a header list never becomes a mapping.
"""

from sidecar.model.endpoint import NOWHERE, Address, Endpoint
from sidecar.model.headers import Headers, RawHeaders
from sidecar.model.records import Answer, Attempt, Trace
from sidecar.model.request import NO_ORIGIN, Origin, Request
from sidecar.model.response import Filter, Handler, ProxyErrorLike, Response, Tunnel

__all__ = [
    "NOWHERE",
    "NO_ORIGIN",
    "Address",
    "Answer",
    "Attempt",
    "Endpoint",
    "Filter",
    "Handler",
    "Headers",
    "Origin",
    "ProxyErrorLike",
    "RawHeaders",
    "Request",
    "Response",
    "Trace",
    "Tunnel",
]

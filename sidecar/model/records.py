"""What is told of a request afterwards: its attempts, its answer, its trace."""

from dataclasses import dataclass, field
from typing import Protocol

from sidecar.model.endpoint import Address
from sidecar.model.headers import RawHeaders


@dataclass(slots=True)
class Attempt:
    """One try of one request on one endpoint, as spans, logs and answers tell it."""

    cluster: str
    address: Address
    resend: int  # 0 for the first try
    start_ns: int  # wall clock
    span_id: int = 0
    end_ns: int = 0
    status: int | None = None
    error_type: str | None = None
    details: str = ""
    reused: bool = False  # on a pooled connection
    scheme: str = "http"  # of the URL sent upstream: `https` over TLS
    events: list[tuple[int, str, dict[str, str | int | float]]] = field(default_factory=list)  # ns, name, attributes


@dataclass(slots=True)
class Answer:
    """How a request ended, as spans, metrics and logs tell it."""

    status: int | None  # None: nothing was sent
    end_ns: int  # wall clock
    duration: float  # seconds, from the head of the request to the last byte of the response
    sent: int = 0  # bytes of the response body sent downstream
    received: int = 0  # bytes of the request body read
    flag: str = "-"  # Envoy's response flag; `DC` where the client went away
    error_type: str | None = None
    details: str = ""
    cancelled: bool = False  # the client went away: no error of ours


class Trace(Protocol):
    """The trace of one request, begun by the listener and known to telemetry only."""

    sampled: bool
    trace_id: int
    span_id: int

    def inject(self, attempt: Attempt) -> RawHeaders | None:
        """Give the attempt its span id and return the fields to send in place of the caller's trace fields.

        None: send the caller's trace fields on as they are.
        """

"""The trace of one request: its ids, and the fields that carry it upstream.

Unsampled requests with a valid context of the caller are forwarded untouched (W3C Trace Context, "pass-through
services"): that avoids a parent id that nobody ever exports. Without such a context the decision not to sample is
still told, so that the app follows it.
"""

import random

from sidecar.model import Attempt, RawHeaders
from sidecar.telemetry.arrival import Arrival
from sidecar.telemetry.propagation import RANDOM, SAMPLED, Context, Propagator, tracestate
from sidecar.telemetry.sampling import Sampler
from sidecar.telemetry.spans import Identity, Link


class Untraced:
    """What stands for a trace where nothing is recorded; shared."""

    __slots__ = ("_passes", "sampled", "span_id", "trace_id")

    def __init__(self, *, passes: bool) -> None:
        self.sampled = False
        self.trace_id = 0
        self.span_id = 0
        self._passes = passes

    def inject(self, attempt: Attempt) -> RawHeaders | None:  # noqa: ARG002 - the shape of `Trace`
        """The same for every attempt."""
        return None if self._passes else []


PASSED = Untraced(passes=True)
"""The caller's fields go on as they are."""

DROPPED = Untraced(passes=False)
"""The caller's fields go nowhere."""


class RequestTrace:
    """The trace of a request that is recorded, or logged."""

    __slots__ = (
        "_context", "_debug", "_flags", "_link", "_pass_on", "_propagator", "_rng", "_state", "_untrusted", "arrival",
        "sampled", "span_id", "trace_id",
    )  # fmt: skip

    def __init__(self, arrival: Arrival, propagator: Propagator, rng: random.Random, *, untrusted: bool) -> None:
        self.arrival = arrival
        self.sampled = False
        self.trace_id = 0
        self.span_id = 0
        self._pass_on = False  # nothing of ours is told upstream
        self._untrusted = untrusted  # the caller's context is not to reach the app
        self._propagator = propagator
        self._rng = rng
        self._context: Context | None = None  # the parent
        self._flags = 0
        self._state = ""
        self._debug = False
        self._link: Link | None = None

    def start(self, context: Context | None, fields: RawHeaders, sampler: Sampler) -> None:
        """Decide; `context` is the caller's, parent or, where it is not trusted, the end of a link."""
        parent = None if self._untrusted else context
        if parent is not None and parent.trace_id:
            self.trace_id = parent.trace_id
            self._flags = parent.flags & RANDOM
            self._context = parent
        else:
            self.trace_id = self._rng.getrandbits(128) or 1
            self._flags = RANDOM
        if not sampler(self.trace_id, parent.sampled if parent is not None else None):
            self._pass_on = parent is not None
            return
        self.sampled = True
        self.span_id = self.new_span_id()
        self._flags |= SAMPLED
        if context is None:
            return
        states = [value for key, value in fields if key == b"tracestate"]
        state = tracestate(states) if states and context.w3c else ""
        if parent is not None:
            self._state = state
            self._debug = parent.debug
        elif context.trace_id:
            self._link = Link(context.trace_id, context.span_id, context.flags, state)

    def note_caller(self, context: Context | None) -> None:
        """Name the caller's trace in the log where none of ours is recorded."""
        self._pass_on = True
        if context is not None and not self._untrusted:
            self.trace_id = context.trace_id

    def new_span_id(self) -> int:
        """A random id, never 0."""
        return self._rng.getrandbits(64) or 1

    def identity(self) -> Identity:
        """Where the spans of this request stand."""
        parent_id = self._context.span_id if self._context is not None else 0
        return Identity(self.trace_id, self.span_id, parent_id, self._flags, self._state, self._link)

    def inject(self, attempt: Attempt) -> RawHeaders | None:
        """See `Trace`."""
        span_id = self.new_span_id()
        if self.sampled:
            attempt.span_id = span_id
        if self._pass_on or not self._propagator.writes:
            return [] if self._untrusted else None
        return self._propagator.inject(self.trace_id, span_id, self._flags, self._state, debug=self._debug)

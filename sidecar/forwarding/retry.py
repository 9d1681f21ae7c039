"""Whether an attempt is followed by another (pure). The engine only obeys.

A connect failure is always tried elsewhere, whatever the method: nothing was sent. A request that may have reached
the app is sent again only if its method is idempotent (RFC 9110 §9.2.2) or the route says otherwise, and only if its
body is still here.
"""

from dataclasses import dataclass
from typing import TypeAlias

from sidecar.errors import ConnectFailed, ProxyError, UpstreamProtocol, UpstreamReset, UpstreamTimeout

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
FREE_TRIES = 5  # repeats of what cannot have been processed
MAX_BACKOFF_DOUBLINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What the route allows. `codes` empty and `attempts` 0: only what can do no harm."""

    codes: frozenset[int] = frozenset()
    attempts: int = 0
    backoff: float = 0.025  # seconds before the first repeat, doubled for each further one
    per_try_timeout: float | None = None
    non_idempotent: bool = False


NO_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after a full-jitter wait of at most `backoff` seconds; `budgeted`: with the retry budget's leave."""

    reason: str
    backoff: float = 0.0
    budgeted: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Let the outcome stand; `reason` says why it is not repeated."""

    reason: str


Decision: TypeAlias = Retry | GiveUp


def decide(  # noqa: PLR0913 - what a decision rests on, by name
    policy: RetryPolicy,
    outcome: int | ProxyError,
    *,
    method: str,
    replayable: bool,
    repeats: int,
    free_repeats: int,
    fresh_endpoint: bool,
    reused: bool,
) -> Decision:
    """Judge an attempt that ended with a status (an int) or a failure.

    `repeats` counts retries that the policy allowed, `free_repeats` those of what cannot have been processed,
    `fresh_endpoint` says whether one is left that was not tried, `reused` whether the connection came from the pool.
    """
    match outcome:
        case int():
            decision = _after_status(policy, outcome, method, repeats)
        case ConnectFailed() if fresh_endpoint and free_repeats < FREE_TRIES:
            decision = Retry("connect-failure", budgeted=False)
        case ConnectFailed():
            decision = _by_policy(policy, "connect-failure", repeats)
        case UpstreamReset():
            stale = reused and free_repeats < FREE_TRIES
            decision = _after_reset(policy, outcome, method, repeats, stale=stale)
        case UpstreamTimeout() | UpstreamProtocol() if _may_repeat(policy, method):
            decision = _by_policy(policy, outcome.error_type, repeats)
        case UpstreamTimeout() | UpstreamProtocol():
            decision = GiveUp("it may have reached the app")
        case _:
            decision = GiveUp(outcome.error_type)
    if isinstance(decision, Retry) and not replayable:
        return GiveUp("the body is larger than the replay limit")
    return decision


def _after_status(policy: RetryPolicy, status: int, method: str, repeats: int) -> Decision:
    if status not in policy.codes:
        return GiveUp("final")
    if not _may_repeat(policy, method):
        return GiveUp(f"{method} is not idempotent")
    return _by_policy(policy, f"status-{status}", repeats)


def _after_reset(policy: RetryPolicy, failure: UpstreamReset, method: str, repeats: int, *, stale: bool) -> Decision:
    if failure.unsent:
        return Retry("stale-connection", budgeted=False)
    if not failure.clean:
        return GiveUp("part of a response came")
    if not _may_repeat(policy, method):
        return GiveUp("it may have reached the app")
    if stale:  # the keep-alive race (RFC 9112 §9.3.1): the upstream closed while the request was on its way
        return Retry("stale-connection", budgeted=False)
    return _by_policy(policy, "reset", repeats)


def _by_policy(policy: RetryPolicy, reason: str, repeats: int) -> Decision:
    if repeats >= policy.attempts:
        return GiveUp("attempts used up" if policy.attempts else "no retry configured")
    return Retry(reason, policy.backoff * 2.0 ** min(repeats, MAX_BACKOFF_DOUBLINGS))


def _may_repeat(policy: RetryPolicy, method: str) -> bool:
    return policy.non_idempotent or method in IDEMPOTENT

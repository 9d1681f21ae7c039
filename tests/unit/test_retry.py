"""The table of the retry decision."""

from typing import Any

import pytest

from sidecar.errors import (
    BadRequest,
    ConnectFailed,
    ConnectTimeout,
    DnsFailed,
    ProxyError,
    RequestTimeout,
    TlsFailed,
    UpstreamOverflow,
    UpstreamProtocol,
    UpstreamReset,
    UpstreamTimeout,
)
from sidecar.forwarding.retry import FREE_TRIES, IDEMPOTENT, NO_RETRY, Decision, GiveUp, Retry, RetryPolicy, decide

POLICY = RetryPolicy(codes=frozenset({503}), attempts=2, backoff=0.1)
ANYTHING = RetryPolicy(codes=frozenset({503}), attempts=2, backoff=0.1, non_idempotent=True)
UNSENT = UpstreamReset("gone", unsent=True)
CLEAN = UpstreamReset("gone")
PARTIAL = UpstreamReset("gone", clean=False)
UNSAFE = "it may have reached the app"
FREE = {"connect": Retry("connect-failure", budgeted=False), "stale": Retry("stale-connection", budgeted=False)}


def judge(outcome: int | ProxyError, policy: RetryPolicy = POLICY, **changed: Any) -> Decision:
    facts: dict[str, Any] = {
        "method": "GET", "replayable": True, "repeats": 0, "free_repeats": 0, "fresh_endpoint": False, "reused": False,
    }  # fmt: skip
    return decide(policy, outcome, **{**facts, **changed})


@pytest.mark.parametrize(
    ("outcome", "policy", "facts", "expected"),
    [
        # statuses
        (200, POLICY, {}, GiveUp("final")),
        (500, POLICY, {}, GiveUp("final")),
        (503, NO_RETRY, {}, GiveUp("final")),
        (503, POLICY, {}, Retry("status-503", 0.1)),
        (503, POLICY, {"repeats": 1}, Retry("status-503", 0.2)),
        (503, POLICY, {"repeats": 2}, GiveUp("attempts used up")),
        (503, POLICY, {"method": "POST"}, GiveUp("POST is not idempotent")),
        (503, ANYTHING, {"method": "POST"}, Retry("status-503", 0.1)),
        (503, POLICY, {"replayable": False}, GiveUp("the body is larger than the replay limit")),
        # nothing was sent: free, whatever the method
        (ConnectFailed("x"), NO_RETRY, {"fresh_endpoint": True}, FREE["connect"]),
        (ConnectFailed("x"), NO_RETRY, {"fresh_endpoint": True, "method": "POST"}, FREE["connect"]),
        (ConnectTimeout("x"), NO_RETRY, {"fresh_endpoint": True}, FREE["connect"]),
        (TlsFailed("x"), NO_RETRY, {"fresh_endpoint": True}, FREE["connect"]),
        (ConnectFailed("x"), NO_RETRY, {}, GiveUp("no retry configured")),
        (ConnectFailed("x"), POLICY, {}, Retry("connect-failure", 0.1)),
        (ConnectFailed("x"), POLICY, {"method": "POST"}, Retry("connect-failure", 0.1)),
        (
            ConnectFailed("x"),
            NO_RETRY,
            {"fresh_endpoint": True, "free_repeats": FREE_TRIES},
            GiveUp("no retry configured"),
        ),
        (UNSENT, NO_RETRY, {"method": "POST"}, FREE["stale"]),
        # it may have been processed
        (CLEAN, NO_RETRY, {"reused": True}, FREE["stale"]),
        (CLEAN, NO_RETRY, {"reused": True, "free_repeats": FREE_TRIES}, GiveUp("no retry configured")),
        (CLEAN, NO_RETRY, {"reused": True, "method": "POST"}, GiveUp(UNSAFE)),
        (CLEAN, NO_RETRY, {}, GiveUp("no retry configured")),
        (CLEAN, POLICY, {}, Retry("reset", 0.1)),
        (CLEAN, POLICY, {"method": "PATCH"}, GiveUp(UNSAFE)),
        (CLEAN, ANYTHING, {"method": "PATCH"}, Retry("reset", 0.1)),
        (PARTIAL, ANYTHING, {"reused": True}, GiveUp("part of a response came")),
        (CLEAN, POLICY, {"replayable": False}, GiveUp("the body is larger than the replay limit")),
        (UpstreamTimeout("x"), POLICY, {}, Retry("upstream_timeout", 0.1)),
        (UpstreamTimeout("x"), POLICY, {"method": "POST"}, GiveUp(UNSAFE)),
        (UpstreamProtocol("x"), POLICY, {}, Retry("upstream_protocol", 0.1)),
        (UpstreamProtocol("x"), NO_RETRY, {}, GiveUp("no retry configured")),
        (UpstreamProtocol("x"), POLICY, {"method": "POST"}, GiveUp(UNSAFE)),
        # no attempt would do better
        (RequestTimeout("x"), ANYTHING, {}, GiveUp("request_timeout")),
        (UpstreamOverflow("x"), ANYTHING, {}, GiveUp("overflow")),
        (BadRequest("x"), ANYTHING, {}, GiveUp("bad_request")),
        (DnsFailed("x"), ANYTHING, {}, GiveUp("dns")),
    ],
)
def test_decision(outcome: int | ProxyError, policy: RetryPolicy, facts: dict[str, Any], expected: Decision) -> None:
    assert judge(outcome, policy, **facts) == expected


def test_backoff_doubles_up_to_a_limit() -> None:
    patient = RetryPolicy(codes=frozenset({503}), attempts=10_000, backoff=0.001)
    waits = [decision.backoff for n in range(2000) if isinstance(decision := judge(503, patient, repeats=n), Retry)]
    assert waits[:4] == [0.001, 0.002, 0.004, 0.008]
    assert max(waits) == waits[-1] == 0.001 * 1024


def test_post_and_patch_are_not_idempotent() -> None:
    assert not IDEMPOTENT & {"POST", "PATCH", "CONNECT", "LOCK", "MKCOL"}
    assert {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"} <= IDEMPOTENT  # RFC 9110 §9.2.2

"""What SERVER and CLIENT spans say (semantic conventions v1.44.0)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Address, Answer, Attempt, Request
from sidecar.telemetry.arrival import ARRIVAL_FIELDS, Arrival, clean
from sidecar.telemetry.environment import SpanLimits
from sidecar.telemetry.propagation import fields_of
from sidecar.telemetry.spans import CLIENT, SERVER, Identity, Link, Recorder, Span
from tests.support.spans import MILLISECOND, START, answer, attempt, request

IDENTITY = Identity(trace_id=1, span_id=2, parent_id=3, flags=1, trace_state="a=1")


def said(span: Span) -> dict[str, object]:
    attributes = dict(span.shape.attributes)
    assert not attributes.keys() & dict(span.attributes).keys()
    return attributes | dict(span.attributes)


def server(
    asked: Request | None = None,
    answered: Answer | None = None,
    recorder: Recorder | None = None,
    identity: Identity = IDENTITY,
) -> Span:
    asked = asked or request()
    arrival = Arrival(asked, fields_of(asked.headers, ARRIVAL_FIELDS))
    return (recorder or Recorder()).server(identity, arrival, asked, answered or answer())


def client(
    tried: Attempt | None = None,
    asked: Request | None = None,
    answered: Answer | None = None,
    recorder: Recorder | None = None,
) -> Span:
    return (recorder or Recorder()).client(IDENTITY, asked or request(), tried or attempt(), answered or answer())


# --- SERVER ----------------------------------------------------------------------------------------------------------


def test_the_server_span_has_the_attributes_of_the_conventions_and_no_other() -> None:
    assert said(server(request(headers=(("User-Agent", "curl/8"), ("Cookie", "secret"))))) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/items/7",
        "server.address": "orders.shop",
        "server.port": 8080,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": 40_000,
        "sidecar.cluster": "orders",
    }


def test_the_server_span_lasts_from_the_head_to_the_last_byte_and_hangs_on_the_caller() -> None:
    span = server()
    assert (span.shape.kind, span.start_ns, span.end_ns) == (SERVER, START, START + 5 * MILLISECOND)
    assert (span.trace_id, span.span_id, span.parent_id, span.remote, span.flags, span.trace_state) == (
        1,
        2,
        3,
        True,
        1,
        "a=1",
    )


def test_a_root_has_no_remote_parent() -> None:
    assert not server(identity=IDENTITY._replace(parent_id=0)).remote


def test_the_name_is_the_method_and_the_route_only_where_the_operator_named_one() -> None:
    asked = request()
    assert server(asked).shape.name == "GET"
    asked.route = "items"
    assert server(asked).shape.name == "GET items"
    assert said(server(asked))["http.route"] == "items"


@pytest.mark.parametrize("method", ["get", "PROPFIND", "X" * 50])
def test_an_unknown_method_is_other_and_its_original_kept(method: str) -> None:
    span = server(request(method))
    assert span.shape.name == "HTTP"
    assert said(span)["http.request.method"] == "_OTHER"
    assert said(span)["http.request.method_original"] == method


def test_known_methods_can_be_replaced() -> None:
    recorder = Recorder(methods=frozenset({"PROPFIND"}))
    assert server(request("PROPFIND"), recorder=recorder).shape.name == "PROPFIND"
    assert server(request("GET"), recorder=recorder).shape.name == "HTTP"


@pytest.mark.parametrize(
    ("answered", "error", "error_type"),
    [
        (answer(200), False, None),
        (answer(101), False, None),
        (answer(302), False, None),
        (answer(404), False, None),
        (answer(404, "no_route", "NR"), False, None),
        (answer(429), False, None),
        (answer(500), True, "500"),
        (answer(503), True, "503"),
        (answer(503, "no_healthy_endpoint", "UH"), True, "no_healthy_endpoint"),
        (answer(200, "connection_reset", "UC"), True, "connection_reset"),
        (answer(None, "internal"), True, "internal"),
        (answer(None), True, "_OTHER"),
        (answer(None, "cancelled", "DC", cancelled=True), False, None),
        (answer(200, None, "DC", cancelled=True), False, None),
    ],
)
def test_the_server_span_fails_where_the_server_failed(answered: Answer, error: bool, error_type: str | None) -> None:
    span = server(answered=answered)
    assert span.shape.error is error
    assert said(span).get("error.type") == error_type
    assert said(span).get("http.response.status_code") == answered.status
    assert said(span).get("sidecar.response_flag") == (answered.flag if answered.flag != "-" else None)


def test_a_retry_that_succeeded_leaves_the_server_span_unset() -> None:
    asked = request()
    asked.attempts = [attempt(0, None, "connect_failed"), attempt(1, 200)]
    assert not server(asked).shape.error


def test_the_request_is_told_as_it_came_whatever_filters_made_of_it() -> None:
    asked = request(headers=(("User-Agent", "curl/8"),))
    arrival = Arrival(asked, fields_of(asked.headers, ARRIVAL_FIELDS))
    asked.method, asked.target, asked.authority = "POST", b"/internal", "other"
    asked.headers.set("User-Agent", "changed")
    found = said(Recorder().server(IDENTITY, arrival, asked, answer()))
    assert (found["http.request.method"], found["url.path"], found["server.address"], found["user_agent.original"]) == (
        "GET",
        "/items/7",
        "orders.shop",
        "curl/8",
    )


def test_a_unix_peer_is_told_by_its_path_and_has_no_port() -> None:
    found = said(server(request(peer=Address("unix:/run/app.sock", 0))))
    assert (found["network.peer.address"], found["client.address"]) == ("/run/app.sock", "/run/app.sock")
    assert "network.peer.port" not in found


def test_control_characters_are_escaped_and_invalid_bytes_shown() -> None:
    asked = request(target=b"/a\x1b[31m\x7f\xe9", headers=(("User-Agent", "x\x00\x9b\xff"),))
    found = said(server(asked))
    assert found["url.path"] == "/a\\x1b[31m\\x7f\xe9"
    assert found["user_agent.original"] == "x\\x00\\x9b\\xff"


def test_a_long_user_agent_is_told_but_not_kept() -> None:
    recorder = Recorder()
    found = server(request(headers=(("User-Agent", "x" * 5000),)), recorder=recorder)
    assert said(found)["user_agent.original"] == "x" * 5000
    assert "x" * 5000 not in dict(found.shape.attributes).values()


def test_shapes_are_kept_and_bounded() -> None:
    recorder = Recorder()
    assert server(recorder=recorder).shape is server(recorder=recorder).shape
    for number in range(2000):
        server(request(authority=f"host{number}"), recorder=recorder)
        client(asked=request(authority=f"host{number}"), recorder=recorder)
    assert len(recorder._servers) <= 512
    assert len(recorder._clients) <= 512


def test_a_restarted_trace_links_to_the_caller() -> None:
    link = Link(7, 8, 1, "")
    span = server(identity=IDENTITY._replace(parent_id=0, link=link))
    assert (list(span.links), span.has_extras, span.dropped_links) == ([link], True, 0)


# --- the client behind trusted proxies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("X-Forwarded-For", "203.0.113.9, 10.1.1.1"),), "203.0.113.9"),
        ((("X-Forwarded-For", "203.0.113.9:4711"),), "203.0.113.9"),
        ((("X-Forwarded-For", "2001:db8::1"),), "2001:db8::1"),
        ((("Forwarded", "for=203.0.113.9;proto=https, for=10.1.1.1"),), "203.0.113.9"),
        ((("Forwarded", 'proto=https;FOR="[2001:db8::1]:4711"'),), "2001:db8::1"),
        ((("Forwarded", 'for="203.0.113.9:80" '),), "203.0.113.9"),
        ((("Forwarded", "for=203.0.113.9"), ("X-Forwarded-For", "198.51.100.1")), "203.0.113.9"),
        ((("Forwarded", "for=unknown"), ("X-Forwarded-For", "198.51.100.1")), "198.51.100.1"),
        ((("Forwarded", "for=_hidden"),), "127.0.0.1"),
        ((("Forwarded", "nonsense"),), "127.0.0.1"),
        ((("X-Forwarded-For", ""),), "127.0.0.1"),
        ((("User-Agent", "curl/8"),), "127.0.0.1"),
        ((("X-Forwarded-For", "<script>"),), "127.0.0.1"),
        ((("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "10.0.0.1")), "203.0.113.9"),
        ((), "127.0.0.1"),
    ],
)
def test_a_trusted_peer_names_the_client(headers: tuple[tuple[str, str], ...], expected: str) -> None:
    assert said(server(request(headers=headers, trusted=True)))["client.address"] == expected
    assert said(server(request(headers=headers)))["client.address"] == "127.0.0.1"


def test_scheme_and_host_of_the_original_request_come_from_a_trusted_peer() -> None:
    headers = (("X-Forwarded-Proto", "HTTPS"), ("X-Forwarded-Host", "shop.example, inner"), ("User-Agent", "x"))
    found = said(server(request(headers=headers, trusted=True)))
    assert (found["url.scheme"], found["server.address"]) == ("https", "shop.example")
    assert "server.port" not in found
    assert said(server(request(headers=(("Forwarded", 'host="a\\"b"'),), trusted=True)))["server.address"] == 'a"b'
    assert said(server(request(headers=(("X-Forwarded-Proto", "javascript"),), trusted=True)))["url.scheme"] == "http"


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_a_trusted_peer_sends_makes_a_printable_span(forwarded: bytes, address: bytes) -> None:
    asked = request(trusted=True)
    asked.headers.extend([(b"forwarded", forwarded), (b"x-forwarded-for", address), (b"x-forwarded-host", forwarded)])
    for value in said(server(asked)).values():
        assert not isinstance(value, str) or clean(value) == value


# --- CLIENT ----------------------------------------------------------------------------------------------------------


def test_the_client_span_has_the_attributes_of_the_conventions_and_no_other() -> None:
    span = client()
    assert said(span) == {
        "http.request.method": "GET",
        "url.full": "http://orders.shop:8080/items/7",
        "server.address": "orders.shop",
        "server.port": 8080,
        "network.peer.address": "10.0.0.1",
        "network.peer.port": 9000,
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "sidecar.cluster": "orders",
    }
    assert (span.shape.name, span.shape.kind) == ("GET", CLIENT)


def test_the_client_span_is_a_child_of_the_server_span() -> None:
    span = client()
    assert (span.trace_id, span.span_id, span.parent_id, span.remote) == (1, 0xA0, 2, False)
    assert (span.start_ns, span.end_ns) == (START + MILLISECOND, START + 4 * MILLISECOND)


def test_an_attempt_that_never_ended_ends_with_the_answer() -> None:
    assert client(attempt(end_ns=0)).end_ns == START + 5 * MILLISECOND


def test_repeats_count_from_one_and_the_first_try_says_nothing() -> None:
    assert "http.request.resend_count" not in said(client(attempt(0)))
    assert said(client(attempt(2)))["http.request.resend_count"] == 2


@pytest.mark.parametrize(
    ("tried", "answered", "error_type"),
    [
        (attempt(status=200), answer(), None),
        (attempt(status=302), answer(), None),
        (attempt(status=404), answer(404), "404"),
        (attempt(status=503), answer(), "503"),
        (attempt(status=None, error_type="connect_failed"), answer(), "connect_failed"),
        (attempt(status=200, error_type="connection_reset"), answer(), "connection_reset"),
        (attempt(status=None), answer(None, cancelled=True), None),
        (attempt(status=None, error_type="cancelled"), answer(None, cancelled=True), None),
        (attempt(status=None, error_type="connect_timeout"), answer(None, cancelled=True), "connect_timeout"),
        (attempt(status=None), answer(), None),
    ],
)
def test_the_client_span_fails_where_the_attempt_failed_and_not_where_the_caller_left(
    tried: Attempt, answered: Answer, error_type: str | None
) -> None:
    span = client(tried, answered=answered)
    assert said(span).get("error.type") == error_type
    assert span.shape.error is (error_type is not None)
    assert said(span).get("http.response.status_code") == tried.status


def test_a_unix_endpoint_is_told_by_its_path() -> None:
    found = said(client(attempt(address=Address("unix:/run/app.sock", 0))))
    assert (found["network.peer.address"], found["network.transport"]) == ("/run/app.sock", "unix")
    assert "network.peer.port" not in found


@pytest.mark.parametrize(
    ("scheme", "authority", "target", "url", "host", "port"),
    [
        ("https", "orders", b"/", "https://orders/", "orders", 443),
        ("http", "[2001:db8::1]:81", b"/a?b", "http://[2001:db8::1]:81/a", "2001:db8::1", 81),
        ("http", "user:pass@orders", b"/", "http://orders/", "orders", 80),
        ("http", "orders:443", b"orders:443", "http://orders:443", "orders", 443),
        ("http", "orders", b"*", "http://orders", "orders", 80),
        ("http", "", b"/", "http:///", "10.0.0.1", 80),
        ("http", "a:b:c", b"/\x1b", "http://a:b:c/\\x1b", "a:b:c", 80),
    ],
)
def test_the_url_has_no_query_and_no_userinfo(
    scheme: str, authority: str, target: bytes, url: str, host: str, port: int
) -> None:
    found = said(client(attempt(scheme=scheme), request(authority=authority, target=target)))
    assert (found["url.full"], found["server.address"], found["server.port"]) == (url, host, port)


def test_events_of_an_attempt_are_events_of_its_span() -> None:
    span = client(attempt(events=[(START, "ejected", {"reason": "5xx\x1b", "count": 3})]))
    [event] = span.events
    assert (event.time_ns, event.name, event.attributes) == (START, "ejected", [("reason", "5xx\\x1b"), ("count", 3)])
    assert span.has_extras


# --- limits ----------------------------------------------------------------------------------------------------------


def test_values_are_cut_at_the_limit() -> None:
    recorder = Recorder(SpanLimits(value_length=4))
    found = said(server(request(headers=(("User-Agent", "curl/8"),)), recorder=recorder))
    assert (found["user_agent.original"], found["url.path"], found["network.peer.port"]) == ("curl", "/ite", 40_000)
    span = client(attempt(events=[(START, "tried", {"why": "too long", "count": 12345})]), recorder=recorder)
    assert span.events[0].attributes == [("why", "too "), ("count", 12345)]


@pytest.mark.parametrize("most", [0, 3, 10, 11, 12, 31])
def test_attributes_above_the_limit_are_counted(most: int) -> None:
    whole = said(server())
    span = server(recorder=Recorder(SpanLimits(attributes=most)))
    assert len(said(span)) == min(most, len(whole))
    assert span.dropped_attributes == max(len(whole) - most, 0)
    assert said(span).items() <= whole.items()
    assert span.has_extras is (most < len(whole))


def test_events_and_links_above_their_limits_are_counted() -> None:
    recorder = Recorder(SpanLimits(events=1, event_attributes=1, links=0))
    span = client(attempt(events=[(1, "a", {"x": 1, "y": 2}), (2, "b", {})]), recorder=recorder)
    assert ([event.name for event in span.events], span.dropped_events, span.events[0].dropped) == (["a"], 1, 1)
    linked = server(identity=IDENTITY._replace(link=Link(7, 8, 1, "")), recorder=recorder)
    assert (list(linked.links), linked.dropped_links, linked.has_extras) == ([], 1, True)

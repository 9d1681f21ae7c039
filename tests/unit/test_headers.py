"""Laws of the header rules: what leaks, what stays, what is added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.forwarding.headers import (
    FORWARDED,
    HOP_BY_HOP,
    HeaderRules,
    kept_trailers,
    nominations,
    offered_upgrade,
)
from sidecar.model import Headers, Origin, RawHeaders, Request

TRACE = frozenset({b"traceparent", b"tracestate", b"b3"})
OWN = {b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
KEPT_WHATEVER = {b"host", b"content-length"}
HOP_DOWN = HOP_BY_HOP - {b"proxy-authorization"}  # a field of requests

_any_case = st.sampled_from([bytes.lower, bytes.upper, bytes.title])
_hop = st.sampled_from(sorted(HOP_BY_HOP - {b"connection", b"te"}))
_plain = st.sampled_from([b"accept", b"cookie", b"x-a", b"x-b", b"x-secret", b"trailer", b"expect", b"set-cookie"])
_special = st.sampled_from([*sorted(FORWARDED), *sorted(TRACE), b"te"])
_name = st.builds(lambda change, name: change(name), _any_case, _hop | _plain | _special)
_value = st.binary(max_size=6).map(lambda value: bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F).strip())
_tokens = st.lists(_name | st.sampled_from([b"close", b"keep-alive", b"", b"host", b"Content-Length"]), max_size=4)
_connection = st.tuples(st.sampled_from([b"Connection", b"connection", b"CONNECTION"]), _tokens.map(b" , ".join))
_lines = st.lists(st.tuples(_name, _value) | _connection, max_size=12)
_origins = st.builds(
    Origin,
    st.just(b"in.1"),
    trusted=st.booleans(),
    announce=st.booleans(),
    peer=st.just(b"10.0.0.9"),
    scheme=st.just(b"http"),
)


def request(lines: RawHeaders, origin: Origin, **parts: object) -> Request:
    defaults: dict[str, object] = {"method": "GET", "target": b"/a%2Fb?x", "authority": "shop.example"}
    return Request(**{**defaults, **parts}, headers=Headers(lines), origin=origin)  # type: ignore[arg-type]  # by name


def split(head: bytes) -> tuple[bytes, RawHeaders]:
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return line, [(name, value) for name, _, value in (field.partition(b": ") for field in fields)]


def nominated(lines: RawHeaders) -> set[bytes]:
    found: set[bytes] = set()
    for name, value in lines:
        if name.lower() == b"connection":
            found |= nominations(value)
    return found


@given(_lines, _origins, st.sampled_from([0, 5, None]), st.sampled_from([None, b"websocket"]))
def test_no_hop_by_hop_or_nominated_field_reaches_the_upstream(
    lines: RawHeaders, origin: Origin, length: int | None, upgrade: bytes | None
) -> None:
    lines = [*lines, (b"Host", b"other"), *([(b"Content-Length", b"5")] if length == 5 else [])]
    _, sent = split(HeaderRules(TRACE).head(request(lines, origin, length=length, upgrade=upgrade), None))
    gone = nominated(lines)
    wants_trailers = any(name.lower() == b"te" and b"trailers" in value.lower() for name, value in lines)
    for name, value in sent:
        lower = name.lower()
        if lower == b"connection":
            assert nominations(value) <= {b"upgrade", b"te"}
            assert (b"upgrade" in nominations(value)) == (upgrade is not None)
        elif lower == b"te":
            assert wants_trailers
            assert value == b"trailers"
        elif lower == b"upgrade":
            assert value == upgrade
        elif lower == b"transfer-encoding":
            assert (length, value) == (None, b"chunked")
        else:
            assert lower not in HOP_BY_HOP
            assert lower not in gone or lower in OWN | KEPT_WHATEVER


@given(_lines, _origins, st.booleans())
def test_what_is_kept_of_a_request_keeps_order_and_bytes(lines: RawHeaders, origin: Origin, traced: bool) -> None:
    own = [(b"traceparent", b"own")] if traced else None
    _, sent = split(HeaderRules(TRACE).head(request(lines, origin), own))
    lost = HOP_BY_HOP | nominated(lines) | FORWARDED | TRACE
    expected = [(name, value) for name, value in lines if name.lower() not in lost]
    assert [pair for pair in sent if pair[0].lower() not in lost | OWN | {b"host"}] == expected
    assert sent[0] == (b"Host", b"shop.example")
    if traced:
        assert [pair for pair in sent if pair[0].lower() in TRACE] == own


@given(_lines)
def test_memo_changes_no_verdict(lines: RawHeaders) -> None:
    rules, origin = HeaderRules(TRACE), Origin(b"i", trusted=True, announce=True, peer=b"p", scheme=b"https")
    first = rules.head(request(lines, origin), None), rules.for_downstream(lines, upgraded=False)
    assert (rules.head(request(lines, origin), None), rules.for_downstream(lines, upgraded=False)) == first


@given(_lines, st.booleans())
def test_no_hop_by_hop_or_nominated_field_reaches_the_client(lines: RawHeaders, upgraded: bool) -> None:
    kept, length, chunked = HeaderRules(TRACE).for_downstream(lines, upgraded=upgraded)
    gone = nominated(lines)
    own = {b"connection", b"upgrade"} if upgraded else set()
    assert not {name.lower() for name, _ in kept} & (HOP_DOWN | (gone - KEPT_WHATEVER)) - own
    assert length is None
    assert chunked == any(name.lower() == b"transfer-encoding" for name, _ in lines)


@given(_lines)
def test_what_is_kept_of_a_response_keeps_order_and_bytes(lines: RawHeaders) -> None:
    kept, _, _ = HeaderRules(TRACE).for_downstream(lines, upgraded=False)
    lost = HOP_DOWN | nominated(lines)
    assert kept == [pair for pair in lines if pair[0].lower() not in lost]


# --- single rules ---------------------------------------------------------------------------------------------------

GATEWAY = Origin(b"in.1", trusted=False, announce=True, peer=b"10.0.0.9", scheme=b"https")


def sent(lines: RawHeaders, origin: Origin = GATEWAY, trace: RawHeaders | None = None, **parts: object) -> RawHeaders:
    return split(HeaderRules(TRACE).head(request(lines, origin, **parts), trace))[1]


def test_request_line_carries_method_and_target_as_they_are() -> None:
    head = HeaderRules(TRACE).head(request([], GATEWAY, method="REPORT"), None)
    assert head.startswith(b"REPORT /a%2Fb?x HTTP/1.1\r\nHost: shop.example\r\n")
    assert head.endswith(b"\r\n\r\n")


def test_host_stays_in_its_place_with_the_authority_as_value_and_only_once() -> None:
    lines = [(b"A", b"1"), (b"hOST", b"old"), (b"B", b"2"), (b"Host", b"again")]
    assert sent(lines)[:3] == [(b"A", b"1"), (b"hOST", b"shop.example"), (b"B", b"2")]
    assert [name for name, _ in sent(lines)].count(b"Host") == 0


@pytest.mark.parametrize("name", [b"host", b"content-length"])
def test_connection_cannot_take_away_where_a_message_goes_or_ends(name: bytes) -> None:
    lines = [(b"Host", b"x"), (b"Content-Length", b"5"), (b"Connection", name)]
    names = [key.lower() for key, _ in sent(lines, length=5)]
    assert names.count(name) == 1


def test_length_is_not_sent_beside_chunks() -> None:
    lines = sent([(b"Content-Length", b"5")], length=None)
    assert (b"Transfer-Encoding", b"chunked") in lines
    assert not any(name.lower() == b"content-length" for name, _ in lines)


def test_untrusted_peer_cannot_say_whom_it_forwards_for() -> None:
    lines = [(b"X-Forwarded-For", b"1.1.1.1"), (b"Forwarded", b"for=1.1.1.1"), (b"X-Real-IP", b"1.1.1.1")]
    assert sent(lines) == [
        (b"Host", b"shop.example"),
        (b"X-Forwarded-For", b"10.0.0.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"shop.example"),
        (b"Via", b"1.1 in.1"),
    ]


def test_trusted_peer_is_added_to_the_chain_and_what_it_says_stays() -> None:
    origin = Origin(b"in.1", trusted=True, announce=True, peer=b"10.0.0.9", scheme=b"http")
    lines = [
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2"),
        (b"x-forwarded-for", b"3.3.3.3"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"first.example"),
        (b"Forwarded", b"for=1.1.1.1"),
    ]
    assert sent(lines, origin) == [
        (b"Host", b"shop.example"),
        *lines[2:],
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9"),
        (b"Via", b"1.1 in.1"),
    ]


@pytest.mark.parametrize(("trusted", "kept"), [(True, [(b"X-Forwarded-For", b"1.1.1.1")]), (False, [])])
def test_forward_proxy_says_nothing_of_its_app(trusted: bool, kept: RawHeaders) -> None:
    origin = Origin(b"out.1", trusted=trusted, announce=False, peer=b"127.0.0.1", scheme=b"http")
    lines = [(b"X-Forwarded-For", b"1.1.1.1")]
    assert sent(lines, origin) == [(b"Host", b"shop.example"), *kept, (b"Via", b"1.1 out.1")]


def test_trace_fields_pass_unless_ours_replace_them() -> None:
    lines = [(b"TraceParent", b"theirs"), (b"tracestate", b"a=1")]
    assert [pair for pair in sent(lines) if pair[0].lower() in TRACE] == lines
    assert [pair for pair in sent(lines, trace=[]) if pair[0].lower() in TRACE] == []
    ours = [(b"traceparent", b"ours")]
    assert [pair for pair in sent(lines, trace=ours) if pair[0].lower() in TRACE] == ours


def test_te_trailers_and_upgrade_are_named_in_connection() -> None:
    lines = [(b"TE", b"gzip, Trailers"), (b"Connection", b"TE, Upgrade"), (b"Upgrade", b"x")]
    assert sent(lines, upgrade=b"websocket")[-3:] == [
        (b"TE", b"trailers"),
        (b"Connection", b"Upgrade, TE"),
        (b"Upgrade", b"websocket"),
    ]
    assert sent(lines)[-2:] == [(b"TE", b"trailers"), (b"Connection", b"TE")]


def test_response_length_is_told_and_kept() -> None:
    lines = [(b"content-length", b"12"), (b"X", b"1"), (b"Connection", b"Content-Length, close")]
    assert HeaderRules(TRACE).for_downstream(lines, upgraded=False) == (lines[:2], 12, False)


def test_upgraded_response_keeps_its_upgrade_field_and_says_so() -> None:
    lines = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", b"x")]
    kept, _, _ = HeaderRules(TRACE).for_downstream(lines, upgraded=True)
    assert kept == [lines[0], lines[2], (b"Connection", b"Upgrade")]


def test_memo_is_bounded_whatever_names_come() -> None:
    rules = HeaderRules(TRACE)
    for number in range(3000):
        lines = [(b"x-%d" % number, b"1"), (b"x" * (number % 300), b"1")]
        rules.head(request(lines, GATEWAY), None)
        rules.for_downstream(lines, upgraded=False)
        assert max(len(rules._up), len(rules._down)) <= 1024
    assert max(len(name) for name in (*rules._up, *rules._down)) <= 64
    assert rules.for_downstream([(b"Keep-Alive", b"1")], upgraded=False)[0] == []


@pytest.mark.parametrize(
    ("te", "kept"),
    [
        (b"trailers", True),
        (b"gzip;q=0.5, Trailers", True),
        (b"trailers;q=0.1", True),
        (b"trailers;q=0", False),
        (b"trailers; q=0.00", False),
        (b"xtrailers", False),
        (b"gzip", False),
        (b"", False),
    ],
)
def test_trailers_are_wanted_where_te_lists_them(te: bytes, kept: bool) -> None:
    assert ((b"TE", b"trailers") in sent([(b"TE", te)])) == kept


@pytest.mark.parametrize(
    ("offered", "passed"),
    [
        (b"websocket", b"websocket"),
        (b"h2c", None),
        (b"H2C, h2", None),
        (b"h2c, websocket", b"websocket"),
        (b"foo/1 , bar", b"foo/1 , bar"),
        (b"", None),
    ],
)
def test_http_2_is_no_upgrade_to_offer(offered: bytes, passed: bytes | None) -> None:
    assert offered_upgrade(offered) == passed


def test_trailers_that_connection_names_end_here() -> None:
    trailers = [(b"X-Sum", b"7"), (b"X-Own", b"1")]
    assert kept_trailers([(b"connection", b"x-own"), (b"A", b"b")], trailers) == trailers[:1]


@pytest.mark.parametrize(("version", "kept"), [("1.1", True), ("1.0", False)])
def test_expectation_of_an_http_1_0_client_is_ignored(version: str, kept: bool) -> None:
    lines = [(b"Expect", b"100-continue")]
    assert (lines[0] in sent(lines, version=version)) == kept


def test_via_tells_the_version_that_came() -> None:
    assert sent([], version="1.0")[-1] == (b"Via", b"1.0 in.1")


def test_odd_field_names_neither_fill_the_memo_nor_keep_it_from_others() -> None:
    rules = HeaderRules(frozenset())
    for number in range(5_000):
        rules.for_downstream([(b"X-Odd-%d" % number, b""), (b"X-%05d" % number + b"a" * 1000, b"")], upgraded=False)
    assert len(rules._down) <= 1024
    assert max(map(len, rules._down)) <= 64
    rules.for_downstream([(b"Content-Type", b"a")], upgraded=False)
    assert b"Content-Type" in rules._down

"""Compress's decisions: which coding by Accept-Encoding, which messages may be encoded, how hard, and what changes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.compress import TYPES
from sidecar.config.model import Compress, CompressFilter
from sidecar.filters.compress.eligibility import (
    ADVICE,
    Asked,
    facts_of,
    mark,
    objection,
    rules,
    weaken,
    weakened_before,
)
from sidecar.filters.compress.meter import Level, Meter
from sidecar.filters.compress.negotiation import Choice, choose
from sidecar.model import Headers
from tests.support.filters import Lines, request
from tests.support.small_config import RULE, change, parse, refusal

OURS = ("zstd", "br", "gzip")

# --- Accept-Encoding (RFC 9110 §12.5.3) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "coding", "identity"),
    [
        # the examples of §12.5.3
        (b"compress, gzip", "gzip", True),
        (b"", None, True),
        (b"*", "zstd", True),
        (b"compress;q=0.5, gzip;q=1.0", "gzip", True),
        (b"gzip;q=1.0, identity; q=0.5, *;q=0", "gzip", True),
        # no field: as it is
        (None, None, True),
        # weights
        (b"gzip, br, zstd", "zstd", True),
        (b"gzip;q=1, br;q=0.9, zstd;q=0.8", "gzip", True),
        (b"gzip;q=0.001", "gzip", True),
        (b"gzip;q=0", None, True),
        (b"gzip;q=0.000, br;q=0", None, True),
        (b"zstd;q=0, *", "br", True),
        (b"gzip;q=0.4, *;q=0.5", "zstd", True),
        (b"*;q=0", None, False),
        # identity: liked less than what is listed, unless it is listed itself
        (b"identity", None, True),
        (b"gzip;q=0.5, identity", None, True),
        (b"gzip;q=0.5, identity;q=0.5", "gzip", True),
        (b"gzip;q=0.5, identity;q=0.6", None, True),
        (b"identity;q=0", None, False),
        (b"identity;q=0, gzip;q=0.1", "gzip", False),
        (b"identity;q=0, *", "zstd", False),
        (b"gzip;q=0.5, *;q=0", "gzip", False),
        (b"deflate;q=0.5, *;q=0", None, False),
        (b"identity;q=0.5, *;q=0", None, True),
        # names: any case, aliases, unknown ones
        (b"GZIP", "gzip", True),
        (b"x-gzip", "gzip", True),
        (b"deflate", None, True),
        (b"gzip;Q=0.5, br;q=0.6", "br", True),
        (b"gzip \t; \t q=0.5 ,br;q=0.6", "br", True),
        (b", ,gzip,", "gzip", True),
        # members that break the grammar are not there
        (b"gzip;q=2", None, True),
        (b"gzip;q=0.1234", None, True),
        (b"gzip;q=-1, br;q=.5", None, True),
        (b"gzip;level=9, br", "br", True),
        (b"g zip", None, True),
        (b"gzip;q=1.001", None, True),
        (b"gzip, gzip;q=0", "gzip", True),  # the first of two
        (b"gzip;q=0, gzip", None, True),
        (b"a, " * 40 + b"gzip", None, True),  # nobody has so many
    ],
)
def test_the_coding_is_chosen_by_weights(accept: bytes | None, coding: str | None, identity: bool) -> None:
    assert choose(accept, OURS) == Choice(coding, identity=identity)


def test_equal_weights_go_to_the_coding_configured_first() -> None:
    assert choose(b"br, gzip, zstd", ("gzip", "br")).coding == "gzip"
    assert choose(b"zstd", ("gzip", "br")).coding is None


WEIGHTS = st.sampled_from(["", ";q=0", ";q=0.3", ";q=0.300", ";q=0.7", ";q=1", ";q=1.0"])


@given(st.dictionaries(st.sampled_from([*OURS, "identity", "*", "deflate"]), WEIGHTS))
def test_what_is_chosen_is_acceptable_and_nothing_at_hand_is_liked_more(given_: dict[str, str]) -> None:
    value = {name: float(weight.partition("=")[2] or 1) for name, weight in given_.items()}
    coding, identity = choose(",".join(map("".join, given_.items())).encode(), OURS)
    liked = {name: value.get(name, value.get("*", 0.0)) for name in OURS}
    plain = value.get("identity", value.get("*", math.nan))  # nan: acceptable, not weighed
    assert identity is not (plain == 0)
    if coding is not None:
        assert liked[coding] == max(liked.values()) > 0
        assert not plain > liked[coding]
    elif not identity:
        assert not any(liked.values())
    else:
        assert plain > max(liked.values()) or not any(liked.values())


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer(accept: bytes) -> None:
    assert choose(accept, OURS).coding in (*OURS, None)


# --- which messages ---------------------------------------------------------------------------------------------------

RULES = rules(TYPES, min_size=100, with_set_cookie=False)
HTML = (b"Content-Type", b"text/html; charset=utf-8")


def judged(
    *headers: tuple[bytes, bytes], status: int = 200, length: int | None = 1000, asked: Lines = (), method: str = "GET"
) -> str | None:
    return objection(status, length, facts_of(headers), Asked(request(method=method, headers=asked)), RULES)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], None),
        ([(b"Content-Encoding", b"gzip")], "encoded"),
        ([(b"content-encoding", b"identity, BR")], "encoded"),
        ([(b"Content-Encoding", b"identity")], None),
        ([(b"Content-Encoding", b"")], None),
        ([(b"Content-Encoding", b"br"), (b"Content-Encoding", b"identity")], "encoded"),
        ([(b"Content-Range", b"bytes 0-1/2")], "partial"),
        ([(b"Cache-Control", b"max-age=1, No-Transform")], "no_transform"),
        ([(b"Cache-Control", b"no-transform"), (b"Cache-Control", b"public")], "no_transform"),
        ([(b"Cache-Control", b"no-transformers, x=no-transform")], None),
        ([(b"Content-Digest", b"sha-256=:AA==:")], "digest"),
        ([(b"Repr-Digest", b"sha-256=:AA==:")], "digest"),
        ([(b"Digest", b"sha-256=AA==")], "digest"),
        ([(b"Content-MD5", b"AA==")], "digest"),
        ([(b"Set-Cookie", b"a=b")], None),  # not over TLS
        ([(b"X-Other", b"gzip")], None),
    ],
)
def test_a_message_that_must_stay_as_it_is_does(headers: list[tuple[bytes, bytes]], reason: str | None) -> None:
    assert judged(HTML, *headers) == reason


@pytest.mark.parametrize(
    ("status", "length", "reason"),
    [
        (200, 1000, None),
        (200, None, None),  # unknown: counts as long
        (200, 100, None),
        (200, 99, "small"),
        (200, 0, "no_content"),
        (404, 1000, None),
        (500, 1000, None),
        (206, 1000, "partial"),
        (204, None, "no_content"),
        (205, None, "no_content"),
        (304, None, "no_content"),
        (103, None, "no_content"),
    ],
)
def test_status_and_length_decide_whether_it_pays(status: int, length: int | None, reason: str | None) -> None:
    assert judged(HTML, status=status, length=length) == reason


def test_a_response_to_head_is_judged_as_the_one_to_get() -> None:
    assert judged(HTML, method="HEAD", length=1000) is None
    assert judged(HTML, method="HEAD", length=None) is None
    assert judged(HTML, method="HEAD", length=0) == "small"


@pytest.mark.parametrize(
    ("media_type", "taken"),
    [
        (b"text/html", True),
        (b"TEXT/Event-Stream ; x=1", True),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"application/atom+xml", True),
        (b"image/svg+xml", True),
        (b"image/png", False),
        (b"application/grpc", False),
        (b"application/zip", False),
        (b"video/vnd+json", False),
        (b"textual/html", False),
        (b"", False),
    ],
)
def test_types_are_compared_without_case_and_parameters(media_type: bytes, taken: bool) -> None:
    assert judged((b"Content-Type", media_type)) == (None if taken else "type")


def test_small_and_unfit_content_gives_way_to_a_client_that_refuses_identity_nothing_else_does() -> None:
    assert {"type", "small"} == ADVICE


def test_no_transform_of_the_client_is_heeded() -> None:
    assert judged(HTML, asked=[(b"Cache-Control", b"no-cache"), (b"cache-control", b"no-transform")]) == "no_transform"


@pytest.mark.parametrize(
    "asked",
    [
        [(b"X-Forwarded-Proto", b"https")],
        [(b"x-forwarded-proto", b"HTTPS, http")],
        [(b"Forwarded", b"for=1.2.3.4;proto=https")],
    ],
)
def test_cookies_over_tls_are_not_mixed_with_what_an_attacker_may_reflect(asked: Lines) -> None:
    cookie = (b"Set-Cookie", b"session=secret")
    assert judged(HTML, cookie, asked=asked) == "set_cookie"
    assert judged(HTML, asked=asked) is None
    facts, over_tls = facts_of([HTML, cookie]), Asked(request(scheme="https"))
    assert objection(200, 1000, facts, over_tls, RULES) == "set_cookie"
    assert objection(200, 1000, facts, over_tls, RULES._replace(with_set_cookie=True)) is None
    assert judged(HTML, cookie, asked=[(b"X-Forwarded-Proto", b"http"), (b"X-Other", b"https")]) is None


def test_several_lines_of_a_request_field_are_one() -> None:
    lines = [
        (b"Accept-Encoding", b"gzip"),
        (b"accept-encoding", b"br"),
        (b"Content-Encoding", b"gzip"),
        (b"content-encoding", b"identity"),
    ]
    asked = Asked(request(method="POST", headers=lines))
    assert (asked.accept, asked.codings, asked.safe) == (b"gzip,br", b"gzip,identity", False)


# --- what changes -----------------------------------------------------------------------------------------------------


def test_the_head_of_encoded_content_says_so_and_promises_no_ranges() -> None:
    headers = Headers([(b"ETag", b'"a"'), (b"Accept-Ranges", b"bytes"), (b"content-encoding", b"identity"), HTML])
    mark(headers, "br")
    assert headers == [(b"ETag", b'W/"a"'), HTML, (b"Content-Encoding", b"br")]


def test_a_weak_etag_stays_and_no_etag_is_made() -> None:
    headers = Headers([(b"etag", b'W/"a"'), HTML])
    weaken(headers)
    assert headers == [(b"etag", b'W/"a"'), HTML]


@pytest.mark.parametrize(
    ("etag", "asked", "expected"),
    [
        (b'"a"', [b'W/"a"'], True),
        (b'"a"', [b'"b", W/"a"'], True),
        (b'"a"', [b'W/"b"', b'W/"a"'], True),
        (b'"a"', [b'"a"'], False),
        (b'"a"', [], False),
        (b'W/"a"', [b'W/"a"'], False),
        (None, [b'W/"a"'], False),
    ],
)
def test_who_asks_by_the_weak_form_has_it_from_here(etag: bytes | None, asked: list[bytes], expected: bool) -> None:
    lines = [(b"If-None-Match", each) for each in asked]
    facts = facts_of([(b"ETag", etag)] if etag is not None else [])
    assert weakened_before(facts, Asked(request(headers=lines))) is expected


# --- how hard ---------------------------------------------------------------------------------------------------------


def test_the_level_falls_with_what_is_spent_and_rises_again() -> None:
    meter = Meter()
    assert meter.level(100.0, 0.3) is Level.THOROUGH
    meter.spend(100.0, 0.14)
    assert meter.level(100.0, 0.3) is Level.THOROUGH
    meter.spend(100.0, 0.01)
    assert meter.level(100.0, 0.3) is Level.FAST
    meter.spend(100.0, 0.15)
    assert meter.level(100.0, 0.3) is None
    assert meter.level(100.5, 0.3) is Level.FAST
    assert meter.level(102.0, 0.3) is Level.THOROUGH


@given(st.floats(0.01, 0.9))
def test_a_steady_share_of_a_core_is_measured_as_that(share: float) -> None:
    meter = Meter()
    for step in range(1, 1001):
        meter.spend(step / 100, share / 100)
    assert meter.load(10.0) == pytest.approx(share, rel=0.02)


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compress", "text"),
    [
        ({"encodings": []}, "encodings: expected at least one of `zstd`, `br`, `gzip`"),
        ({"encodings": ["br", "br"]}, "encodings[1]: encoding 'br' is taken by"),
        ({"encodings": ["deflate"]}, "encodings[0]: unknown value 'deflate'; known values: `br`, `gzip`, `zstd`"),
        ({"types": ["text"]}, "types[0]: expected a media type in lower case, such as"),
        ({"types": ["text/html", "Text/*"]}, "types[1]: expected a media type"),
        ({"types": ["*/*"]}, "types[0]: expected a media type"),
        ({"minSize": -1}, "minSize: expected 0 or more, got -1"),
        ({"cpuBudget": 0}, "cpuBudget: expected 1 to 100, got 0"),
        ({"maxStreams": -1}, "maxStreams: expected 0 or more"),
        ({"decompressRequests": {"maxSize": 0}}, "decompressRequests.maxSize: expected 1 or more, got 0"),
        ({"decompressRequests": {"maxRatio": 0}}, "decompressRequests.maxRatio: expected 1 or more, got 0"),
    ],
)
def test_what_makes_no_sense_is_an_error_with_its_field(compress: dict[str, object], text: str) -> None:
    line = refusal(change(f"{RULE}.filters", [{"type": "Compress", "compress": compress}]))
    assert line.startswith(f"$.{RULE}.filters[0].compress.{text}")


def test_settings_may_be_empty_and_types_of_every_form_are_taken() -> None:
    types = ["a/b", "a/*", "application/*+json"]
    filters = [{"type": "Compress"}, {"type": "Compress", "compress": {"types": types, "decompressRequests": {}}}]
    rule = parse(change(f"{RULE}.filters", filters)).listeners[0].routes[0].rules[0]
    assert rule.filters[0] == CompressFilter(compress=Compress())

"""Header lines as the cache keys, keeps and updates them."""

import pytest

from sidecar.filters.cache.directives import Said
from sidecar.filters.cache.entry import (
    ALWAYS_KEYED,
    Came,
    Entry,
    extras_of,
    make,
    most_recent,
    uri_of,
)
from sidecar.filters.cache.fields import collect, normal, selecting, stored_lines, updated, vary_names

NOW = 784_111_777.0
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
URI = ("http", "shop.example", b"/a")


def entry(*lines: tuple[bytes, bytes], asked: dict[bytes, bytes] | None = None, said: Said | None = None) -> Entry:
    listed = list(lines)
    came = Came(URI, (), asked or {}, NOW, NOW, 200, b"OK", listed, collect(listed))
    return make(came, said or Said(max_age=60), 60, length=5)


def test_lines_of_one_name_are_read_as_one() -> None:
    assert collect([(b"A", b"1"), (b"b", b"2"), (b"a", b"3")]) == {b"a": b"1, 3", b"b": b"2"}


def test_vary_names_fields_in_any_case_and_order() -> None:
    assert vary_names(b"Accept-Encoding, ,X-A, x-a") == (b"accept-encoding", b"x-a")
    assert vary_names(None) == ()
    assert vary_names(b"a, *") is None
    assert vary_names(b"a b") is None


def test_an_absent_field_matches_an_absent_one_only() -> None:
    assert selecting((b"a",), {}) == (None,) != selecting((b"a",), {b"a": b""})


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"x-a", b"a,b", b" a , b"),
        (b"accept-encoding", b"gzip, br", b"br,GZIP"),
        (b"accept-encoding", b"x-gzip;q=1", b"gzip"),
        (b"accept-encoding", b"gzip; q=0.5", b"gzip;q=0.5"),
        (b"accept-language", b"EN, de;q=0.5", b"en,de; q=0.5"),
        (b"accept", b"text/html,,a/b", b"text/html, a/b"),
    ],
)
def test_values_that_mean_the_same_select_the_same(name: bytes, one: bytes, other: bytes) -> None:
    assert normal(name, one) == normal(name, other)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"x-a", b"a, b", b"b, a"),
        (b"x-a", b"A", b"a"),
        (b"accept-language", b"en, de", b"de, en"),
        (b"accept-encoding", b"gzip", b"gzip;q=0"),
        (b"x-a", b'"a,b"', b'"a, b"'),
    ],
)
def test_values_that_may_mean_something_else_do_not(name: bytes, one: bytes, other: bytes) -> None:
    assert normal(name, one) != normal(name, other)


def test_a_long_value_is_normalised_and_not_remembered() -> None:
    assert normal(b"x-a", b"a" * 300 + b",b") == b"a" * 300 + b", b"


def test_every_field_is_stored_but_those_of_the_connection_the_proxy_and_the_message() -> None:
    lines = [
        (b"X-New", b"1"),
        (b"Connection", b"a"),
        (b"Keep-Alive", b"1"),
        (b"Proxy-Authenticate", b"x"),
        (b"Proxy-Authentication-Info", b"x"),
        (b"Proxy-Authorization", b"x"),
        (b"Age", b"5"),
        (b"Trailer", b"t"),
        (b"Content-Length", b"9"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Secret", b"s"),
    ]
    kept = stored_lines(lines, 5, DATE, {b"x-secret"})
    assert kept == [(b"X-New", b"1"), (b"Date", DATE), (b"Content-Length", b"5")]
    assert stored_lines(lines[:1], None, None, ()) == lines[:1]


def test_an_update_replaces_every_line_of_a_name_but_length_and_coding() -> None:
    stored = [
        (b"ETag", b'"1"'),
        (b"X-A", b"1"),
        (b"X-A", b"2"),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"br"),
    ]
    newer = [(b"x-a", b"3"), (b"Content-Length", b"0"), (b"Content-Encoding", b"gzip"), (b"Content-Type", b"t")]
    assert updated(stored, newer) == [
        (b"ETag", b'"1"'),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"br"),
        (b"x-a", b"3"),
        (b"Content-Type", b"t"),
    ]


def test_an_entry_knows_its_times_its_validators_and_its_bytes() -> None:
    made = entry((b"Date", DATE), (b"ETag", b'"1"'), (b"Age", b"10"))
    assert made.initial_age == 10
    assert made.expires == NOW + 50
    assert made.validators == {b"etag": b'"1"', b"date": DATE, b"content-length": b"5"}
    assert made.raw == b'Date: %b\r\nETag: "1"\r\nContent-Length: 5\r\n' % DATE
    assert made.has_validator
    assert made.weight > made.size


def test_a_response_without_date_gets_the_time_it_came() -> None:
    assert (b"Date", DATE) in entry((b"X-A", b"1")).lines
    assert (b"Date", b"soon") in entry((b"Date", b"soon")).lines
    assert not entry((b"X-A", b"1")).has_validator


def test_an_entry_serves_requests_that_say_the_same_in_the_fields_of_vary() -> None:
    made = entry((b"Vary", b"X-A"), asked={b"x-a": b"1"})
    assert made.serves((), {b"x-a": b"1"})
    assert not made.serves((), {b"x-a": b"2"})
    assert not made.serves((), {})
    assert not made.serves(((b"x-host", b"e"),), {b"x-a": b"1"})


def test_of_several_that_fit_the_one_with_vary_and_then_the_newest_counts() -> None:
    old, new = entry((b"Date", b"Sun, 06 Nov 1994 08:00:00 GMT")), entry((b"Date", DATE))
    varied = entry((b"Vary", b"X-A"), (b"Date", b"Sun, 06 Nov 1994 07:00:00 GMT"))
    assert most_recent([old, new]) is new
    assert most_recent([old, new, varied]) is varied
    assert most_recent([]) is None


def test_a_uri_ignores_the_case_of_the_host_and_the_schemes_own_port_and_nothing_else() -> None:
    assert uri_of("http", "Shop.Example:80", b"/A?b") == ("http", "shop.example", b"/A?b")
    assert uri_of("https", "shop.example:80", b"/a") != uri_of("https", "shop.example", b"/a")
    assert uri_of("http", "shop.example", b"/%7ea") != uri_of("http", "shop.example", b"/~a")
    assert uri_of("other", "a:80", b"/")[1] == "a:80"


def test_fields_by_which_apps_make_urls_are_part_of_the_key_as_far_as_they_reach_the_app() -> None:
    asked = {b"x-forwarded-host": b"evil", b"x-original-url": b"/admin", b"user-agent": b"x"}
    assert extras_of(asked, ALWAYS_KEYED, trusted=True) == (
        (b"x-forwarded-host", b"evil"),
        (b"x-original-url", b"/admin"),
    )
    assert extras_of(asked, ALWAYS_KEYED, trusted=False) == ((b"x-original-url", b"/admin"),)
    assert extras_of({b"user-agent": b"x"}, ALWAYS_KEYED, trusted=True) == ()
    assert extras_of({b"x-host": b""}, ALWAYS_KEYED, trusted=True) == ((b"x-host", b" "),)


def test_of_forwarded_the_host_and_the_scheme_are_part_of_the_key_and_the_client_is_not() -> None:
    def key(value: bytes) -> object:
        return extras_of({b"forwarded": value}, ALWAYS_KEYED, trusted=True)

    assert key(b'for=1.2.3.4;Host="Evil";proto=https') == key(b"host=evil;proto=HTTPS, for=9.9.9.9")
    assert key(b"for=1.2.3.4") == ()

"""Dates, ages, lifetimes and the use of what is stored, by the letter of RFC 9111 §4.2."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.filters.cache.dates import format_date, parse_date
from sidecar.filters.cache.directives import INFINITE, NOTHING_ASKED, Asked, Said
from sidecar.filters.cache.freshness import Heuristic, current_age, initial_age, lifetime, serves_errors, use

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
NONE = Heuristic()


@dataclass
class Stored:
    received: float = NOW
    initial_age: float = 0.0
    expires: float = NOW + 60
    no_cache: bool = False
    strict: bool = False
    immutable: bool = False
    stale_while_revalidate: int = 0
    stale_if_error: int = 0


def stale(by: float = 5, **more: object) -> Stored:
    return Stored(expires=NOW - by, **more)  # type: ignore[arg-type] # the fields of the dataclass


@pytest.mark.parametrize(
    "value",
    [DATE, b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994", DATE.lower(), DATE.upper()],
)
def test_all_three_forms_of_a_date_are_read_in_any_case(value: bytes) -> None:
    assert parse_date(value, NOW) == NOW


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        DATE + b"x",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
    ],
)
def test_a_date_with_another_zone_or_form_is_no_date(value: bytes) -> None:
    assert parse_date(value, NOW) is None


def test_a_year_of_two_digits_is_never_more_than_fifty_years_ahead() -> None:
    assert format_date(parse_date(b"Sunday, 06-Nov-94 08:49:37 GMT", 1.6e9) or 0) == DATE
    assert parse_date(b"Sunday, 06-Nov-30 08:49:37 GMT", 1.6e9) == parse_date(b"Wed, 06 Nov 2030 08:49:37 GMT", 0)
    assert parse_date(b"Sunday, 31-Feb-94 08:49:37 GMT", 1.6e9) is None


def test_a_leap_second_is_the_second_before() -> None:
    assert parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT", 0) == parse_date(b"Sat, 31 Dec 2016 23:59:59 GMT", 0)


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_a_date_survives_writing_and_reading(seconds: int) -> None:
    assert parse_date(format_date(seconds), NOW) == seconds


def test_the_age_is_the_larger_of_what_age_says_and_date_shows() -> None:
    assert initial_age({b"date": DATE, b"age": b"30"}, NOW, NOW) == 30
    assert initial_age({b"date": DATE, b"age": b"30"}, NOW, NOW + 100) == 130  # the delay counts to the Age field
    assert initial_age({b"date": DATE}, NOW + 99, NOW + 100) == 100
    assert initial_age({}, NOW, NOW + 2) == 2


def test_a_date_ahead_of_our_clock_makes_nothing_younger_than_new() -> None:
    assert initial_age({b"date": DATE}, NOW - 50, NOW - 50) == 0


@pytest.mark.parametrize("value", [b"abc", b"-7200", b"7200.0", b"", b"\xb2"])
def test_an_age_that_is_no_number_is_ignored(value: bytes) -> None:
    assert initial_age({b"age": value}, NOW, NOW) == 0


def test_the_first_of_a_list_of_ages_counts_and_none_overflows() -> None:
    assert initial_age({b"age": b"7200, 0"}, NOW, NOW) == 7200
    assert initial_age({b"age": b"0, 7200"}, NOW, NOW) == 0
    assert initial_age({b"age": b"9" * 5000}, NOW, NOW) == INFINITE
    assert initial_age({b"age": b"9999999999"}, NOW, NOW) == INFINITE


def test_a_lifetime_is_s_maxage_then_max_age_then_expires() -> None:
    fields = {b"date": DATE, b"expires": format_date(NOW + 30)}
    assert lifetime(Said(s_maxage=10, max_age=20), fields, 200, NOW, NONE) == 10
    assert lifetime(Said(max_age=20), fields, 200, NOW, NONE) == 20
    assert lifetime(Said(), fields, 200, NOW + 100, NONE) == 30
    assert lifetime(Said(), {b"expires": format_date(NOW + 30)}, 200, NOW, NONE) == 30
    assert lifetime(Said(targeted=True), fields, 200, NOW, NONE) is None


@pytest.mark.parametrize("value", [b"0", b"-1", b"soon", b"", b"Sun, 06 Nov 2094 08:49:37 EST"])
def test_an_expires_that_is_no_date_has_passed(value: bytes) -> None:
    assert lifetime(Said(), {b"expires": value}, 200, NOW, NONE) == 0


def test_two_expires_fields_are_no_date() -> None:
    both = format_date(NOW + 30) + b", " + format_date(NOW + 60)
    assert lifetime(Said(), {b"expires": both}, 200, NOW, NONE) == 0


def test_a_heuristic_is_a_part_of_the_time_since_the_modification_and_has_an_end() -> None:
    fields = {b"date": DATE, b"last-modified": format_date(NOW - 1000)}
    assert lifetime(Said(), fields, 200, NOW, NONE) is None
    assert lifetime(Said(), fields, 200, NOW, Heuristic(10)) == 100
    assert lifetime(Said(), fields, 200, NOW, Heuristic(10, 50)) == 50


def test_heuristics_are_for_statuses_that_allow_them_and_for_public() -> None:
    fields = {b"last-modified": format_date(NOW - 1000)}
    assert lifetime(Said(), fields, 302, NOW, Heuristic(10)) is None
    assert lifetime(Said(public=True), fields, 302, NOW, Heuristic(10)) == 100
    assert lifetime(Said(), fields, 404, NOW, Heuristic(10)) == 100


def test_no_heuristic_without_a_modification_in_the_past_or_with_an_explicit_time() -> None:
    assert lifetime(Said(), {}, 200, NOW, Heuristic(10)) is None
    assert lifetime(Said(), {b"last-modified": format_date(NOW + 5)}, 200, NOW, Heuristic(10)) is None
    assert lifetime(Said(max_age=0), {b"last-modified": format_date(NOW - 1000)}, 200, NOW, Heuristic(10)) == 0


def test_the_age_grows_with_the_time_in_store_and_never_falls() -> None:
    assert current_age(Stored(initial_age=5), NOW + 10) == 15
    assert current_age(Stored(initial_age=5), NOW - 10) == 5


def test_fresh_is_used_until_its_lifetime_has_passed() -> None:
    assert use(Stored(), NOTHING_ASKED, NOW + 59.9) == "fresh"
    assert use(Stored(), NOTHING_ASKED, NOW + 60) == "validate"


def test_no_cache_is_never_used_without_validation() -> None:
    assert use(Stored(no_cache=True), NOTHING_ASKED, NOW) == "validate"


def test_a_client_may_want_validation_a_younger_or_a_longer_fresh_response() -> None:
    assert use(Stored(), Asked(no_cache=True), NOW) == "request"
    assert use(Stored(), Asked(max_age=5), NOW + 6) == "request"
    assert use(Stored(), Asked(max_age=5), NOW + 5) == "fresh"
    assert use(Stored(), Asked(min_fresh=30), NOW + 40) == "request"
    assert use(Stored(), Asked(min_fresh=30), NOW + 30) == "fresh"
    assert use(Stored(), Asked(max_age=5, max_stale=100), NOW + 6) == "fresh"


def test_no_cache_of_a_client_meets_what_is_stale_too() -> None:
    assert use(stale(stale_while_revalidate=60), Asked(no_cache=True), NOW) == "validate"


def test_an_immutable_response_is_not_validated_while_it_is_fresh_unless_no_cache_says_so() -> None:
    assert use(Stored(immutable=True), Asked(max_age=0), NOW + 6) == "fresh"
    assert use(Stored(immutable=True), Asked(no_cache=True), NOW) == "request"
    assert use(stale(immutable=True), NOTHING_ASKED, NOW) == "validate"


def test_max_stale_takes_what_is_stale_by_no_more() -> None:
    assert use(stale(5), Asked(max_stale=5), NOW) == "stale"
    assert use(stale(6), Asked(max_stale=5), NOW) == "validate"
    assert use(stale(10**6), Asked(max_stale=INFINITE), NOW) == "stale"


def test_stale_while_revalidate_serves_for_its_seconds_and_no_longer() -> None:
    assert use(stale(5, stale_while_revalidate=5), NOTHING_ASKED, NOW) == "refresh"
    assert use(stale(5.1, stale_while_revalidate=5), NOTHING_ASKED, NOW) == "validate"


@pytest.mark.parametrize("asked", [Asked(max_age=0), Asked(min_fresh=1)])
def test_a_client_that_wants_freshness_gets_nothing_stale(asked: Asked) -> None:
    assert use(stale(5, stale_while_revalidate=60, initial_age=9), asked, NOW) == "validate"


def test_what_is_strict_is_never_used_stale() -> None:
    forced = stale(1, strict=True, stale_while_revalidate=60, stale_if_error=60)
    assert use(forced, Asked(max_stale=INFINITE), NOW) == "validate"
    assert not serves_errors(forced, Asked(stale_if_error=60), NOW, 60)
    assert not serves_errors(stale(1, no_cache=True, stale_if_error=60), NOTHING_ASKED, NOW, 60)


def test_errors_are_stood_in_for_up_to_the_limit_of_response_request_or_configuration() -> None:
    assert serves_errors(stale(5, stale_if_error=5), NOTHING_ASKED, NOW, 0)
    assert not serves_errors(stale(6, stale_if_error=5), NOTHING_ASKED, NOW, 0)
    assert serves_errors(stale(5), Asked(stale_if_error=5), NOW, 0)
    assert serves_errors(stale(5), NOTHING_ASKED, NOW, 5)
    assert not serves_errors(stale(5), NOTHING_ASKED, NOW, 0)
    assert not serves_errors(stale(5, stale_if_error=60), Asked(no_cache=True), NOW, 0)

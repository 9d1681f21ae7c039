"""What a shared cache may store, and where this one is stricter."""

import pytest

from sidecar.filters.cache.directives import Said
from sidecar.filters.cache.storable import UNDERSTOOD, refusal

FRESH = Said(max_age=60)


def why_not(
    said: Said = FRESH,
    fields: dict[bytes, bytes] | None = None,
    *,
    status: int = 200,
    life: float | None = 60,
    authorized: bool = False,
    cookies: bool = False,
) -> str | None:
    return refusal(status, said, fields or {}, life, authorized=authorized, cookies=cookies)


@pytest.mark.parametrize("status", sorted(UNDERSTOOD))
def test_a_fresh_response_is_stored(status: int) -> None:
    assert why_not(status=status) is None


@pytest.mark.parametrize("status", [206, 304])
def test_partial_and_not_modified_are_not_stored(status: int) -> None:
    assert why_not(status=status) == "status"


@pytest.mark.parametrize("status", [400, 401, 403, 413, 416, 421, 429, 431, 500, 502, 503, 504, 599])
def test_an_error_that_speaks_of_the_request_is_not_stored(status: int) -> None:
    assert why_not(status=status) == "status"


def test_no_store_is_not_stored() -> None:
    assert why_not(Said(max_age=60, no_store=True)) == "forbidden"


def test_must_understand_lifts_no_store_for_a_status_that_is_understood() -> None:
    both = Said(max_age=60, no_store=True, must_understand=True)
    assert why_not(both) is None
    assert why_not(both, status=299) == "must-understand"
    assert why_not(FRESH, status=299) is None


def test_private_is_not_stored() -> None:
    assert why_not(Said(max_age=60, private=True)) == "forbidden"


@pytest.mark.parametrize("said", [Said(public=True), Said(must_revalidate=True), Said(s_maxage=60)])
def test_an_authorized_answer_is_stored_only_where_a_directive_allows_it(said: Said) -> None:
    assert why_not(FRESH, authorized=True) == "authorization"
    assert why_not(said, authorized=True) is None


def test_an_answer_that_sets_cookies_is_stored_only_by_setting_or_without_them() -> None:
    cookie = {b"set-cookie": b"a=b"}
    assert why_not(fields=cookie) == "set-cookie"
    assert why_not(fields=cookie, cookies=True) is None
    assert why_not(Said(max_age=60, hidden=frozenset({b"set-cookie"})), cookie) is None


@pytest.mark.parametrize("value", [b"*", b"*, *", b", *", b"Foo, *", b"a b", b", ".join(b"h%d" % n for n in range(17))])
def test_what_can_never_be_selected_is_not_stored(value: bytes) -> None:
    assert why_not(fields={b"vary": value}) == "vary"


def test_an_answer_without_a_lifetime_is_not_stored() -> None:
    assert why_not(Said(), life=None) == "no lifetime"
    assert why_not(Said(max_age=0), life=0) == "no lifetime"
    assert why_not(Said(max_age=60, no_cache=True)) == "no lifetime"


@pytest.mark.parametrize("field", [b"etag", b"last-modified"])
def test_what_is_stale_from_the_beginning_is_stored_where_it_can_be_validated(field: bytes) -> None:
    assert why_not(Said(no_cache=True), {field: b"x"}) is None
    assert why_not(Said(no_cache=True), {field: b"x"}, life=None) is None
    assert why_not(Said(no_cache=True), {field: b"x"}, life=None, status=302) == "no lifetime"
    assert why_not(Said(max_age=0), {field: b"x"}, life=0) is None


@pytest.mark.parametrize("said", [Said(stale_while_revalidate=5), Said(stale_if_error=5)])
def test_what_is_stale_from_the_beginning_is_stored_where_it_may_be_used_stale(said: Said) -> None:
    assert why_not(said, life=0) is None

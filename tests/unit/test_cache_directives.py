"""Cache directives: Cache-Control of both sides, targeted fields as Structured Fields, and what is wrong in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.filters.cache.directives import INFINITE, NOTHING_ASKED, Asked, Said, asked_of, parse, said_of
from sidecar.filters.cache.structured import Token, parse_dictionary

CDN = (b"cdn-cache-control",)


def said(value: bytes, **targeted: bytes) -> Said:
    fields = {b"cache-control": value} if value else {}
    fields.update({name.replace("_", "-").encode(): text for name, text in targeted.items()})
    return said_of(fields, (b"own-cache-control", *CDN))


def asked(value: bytes, *, honour: bool = True) -> Asked:
    return asked_of(value, None, honour=honour)


def test_names_are_compared_without_case_and_unknown_ones_are_ignored() -> None:
    assert said(b"MAX-Age=60, Frobnicate=1, PUBLIC") == Said(max_age=60, public=True)


def test_both_forms_of_an_argument_are_taken() -> None:
    assert said(b'max-age="60", no-cache=x-own') == Said(max_age=60, hidden=frozenset({b"x-own"}))


@pytest.mark.parametrize(
    "value", [b"max-age=", b"max-age", b"max-age=a1", b"max-age=1.5", b"max-age=-1", b"max-age='1'"]
)
def test_a_lifetime_that_is_no_number_is_none_at_all(value: bytes) -> None:
    assert said(value).max_age == 0


@pytest.mark.parametrize("value", [b"max-age =60", b"max-age= 60", b"max-age\t=60"])
def test_a_lifetime_with_space_at_the_sign_is_none_at_all(value: bytes) -> None:
    assert said(value).max_age == 0


def test_numbers_too_large_stand_for_infinity() -> None:
    assert said(b"max-age=99999999999999999999").max_age == INFINITE
    assert said(b"max-age=2147483649").max_age == INFINITE
    assert said(b"s-maxage=%b" % (b"9" * 9000)).s_maxage == INFINITE
    assert said(b"max-age=%b60" % (b"0" * 50)).max_age == 60
    assert said(b"max-age=000").max_age == 0


def test_the_first_of_several_lifetimes_counts() -> None:
    assert said(b"max-age=1, max-age=1800").max_age == 1


def test_what_stands_in_quotes_is_no_directive() -> None:
    assert said(b'extension="max-age=3600, no-store", max-age=1') == Said(max_age=1)
    assert said(b'x="a\\"b, no-store", public') == Said(public=True)


@pytest.mark.parametrize("value", [b'max-age=60, x="no end', b'max-age="60', b'a"b"c"', b'"'])
def test_quotes_that_do_not_close_forbid_storing(value: bytes) -> None:
    assert said(value) == Said(no_store=True)


def test_empty_members_are_nothing() -> None:
    assert said(b", ,max-age=5,, ") == Said(max_age=5)
    assert parse(b"") == {}


def test_no_cache_and_private_with_fields_hide_these_fields_only() -> None:
    found = said(b'no-cache="Set-Cookie, X-A", private="x-b"')
    assert not found.no_cache
    assert not found.private
    assert found.hidden == {b"set-cookie", b"x-a", b"x-b"}


def test_the_bare_form_wins_over_the_one_with_fields_in_any_order() -> None:
    assert said(b'no-cache="a", no-cache').no_cache
    assert said(b'private, private="a"').private
    assert said(b'private="a", private="b"').hidden == {b"a", b"b"}
    assert said(b'private=""').private


def test_stale_response_directives_and_immutable_are_read() -> None:
    found = said(b"max-age=1, stale-while-revalidate=5, stale-if-error=9, immutable, must-understand")
    assert (found.stale_while_revalidate, found.stale_if_error) == (5, 9)
    assert found.immutable
    assert found.must_understand


@pytest.mark.parametrize("value", [b"immutable=1", b"immutable, immutable", b'immutable="x"'])
def test_arguments_and_repetitions_of_immutable_mean_nothing(value: bytes) -> None:
    assert said(value).immutable


@pytest.mark.parametrize("value", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=5"])
def test_three_directives_make_a_response_strict(value: bytes) -> None:
    assert said(value).strict
    assert not said(b"max-age=5").strict


def test_a_request_says_what_it_takes() -> None:
    found = asked(b"max-age=5, min-fresh=6, max-stale=7, stale-if-error=8, no-cache, no-store, only-if-cached")
    assert found == Asked(True, True, True, 5, 7, 6, 8)
    assert asked(b"max-stale").max_stale == INFINITE
    assert asked(b"max-stale=x").max_stale is None
    assert asked(b"min-fresh=x").min_fresh == INFINITE
    assert asked(b"max-age=x").max_age == 0


def test_pragma_counts_where_there_is_no_cache_control() -> None:
    assert asked_of(None, b"No-Cache", honour=True).no_cache
    assert not asked_of(b"max-age=5", b"no-cache", honour=True).no_cache
    assert asked_of(None, b"no-cache", honour=False) is NOTHING_ASKED
    assert asked_of(None, None, honour=True) is NOTHING_ASKED


def test_a_request_that_is_not_honoured_still_forbids_storing_and_forwarding() -> None:
    assert asked(b"no-cache, no-store, only-if-cached, max-age=0", honour=False) == Asked(
        no_store=True, only_if_cached=True
    )


def test_a_request_with_broken_quotes_is_not_stored() -> None:
    assert asked(b'"') == Asked(no_store=True)


def test_a_targeted_field_takes_the_place_of_cache_control_and_expires() -> None:
    found = said(b"no-store", cdn_cache_control=b"max-age=600")
    assert found == Said(max_age=600, targeted=True)


def test_the_first_of_the_target_list_that_is_valid_counts() -> None:
    assert said(b"", own_cache_control=b"max-age=1", cdn_cache_control=b"max-age=2").max_age == 1
    assert said(b"", own_cache_control=b"max-age=1,,", cdn_cache_control=b"max-age=2").max_age == 2


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"  ",
        b"max-age=10000, &&&&&",
        b"max-age=10000,",
        b"Max-Age=5",
        b"max-age =5",
        b"a=(1 2",
        b'a="\x01"',
        b"a=\xc3",
    ],
)
def test_a_targeted_field_that_is_empty_or_does_not_parse_is_ignored(value: bytes) -> None:
    assert said(b"no-store", cdn_cache_control=value) == Said(no_store=True)


def test_a_field_that_is_on_no_target_list_changes_nothing() -> None:
    assert said(b"max-age=5", other_cache_control=b"no-store") == Said(max_age=5)


@pytest.mark.parametrize("value", [b'max-age="10000"', b"max-age=1.5", b"max-age", b"max-age=-1", b"max-age=?1"])
def test_a_targeted_lifetime_of_the_wrong_type_is_not_consumed(value: bytes) -> None:
    assert said(b"no-store", cdn_cache_control=value) == Said(targeted=True)


def test_parameters_of_targeted_directives_are_ignored() -> None:
    found = said(b"", cdn_cache_control=b'max-age=5;x=1;y;z="a", no-cache="a, b";q, none')
    assert found == Said(max_age=5, hidden=frozenset({b"a", b"b"}), targeted=True)


def test_targeted_fields_implement_the_directives_they_must() -> None:
    value = b"max-age=1, must-revalidate, no-store, no-cache, private"
    assert said(b"", cdn_cache_control=value) == Said(
        max_age=1, must_revalidate=True, no_store=True, no_cache=True, private=True, targeted=True
    )


def test_a_targeted_directive_that_is_false_is_not_there() -> None:
    assert said(b"", cdn_cache_control=b"no-store=?0, max-age=1") == Said(max_age=1, targeted=True)


def test_what_forbids_counts_in_any_type() -> None:
    assert said(b"", cdn_cache_control=b"no-store=1, private=tok, no-cache=(a b)").no_store


def test_structured_dictionaries_hold_every_type() -> None:
    text = 'a=1, b=-2.5, c="x\\"y\\\\", d=tok/en:1, e=:aGk=:, f=?0, g, h=(1 "b";p=1  c);q, i=()'
    assert parse_dictionary(text) == {
        "a": 1, "b": -2.5, "c": 'x"y\\', "d": Token("tok/en:1"), "e": b":aGk=:", "f": False, "g": True,
        "h": (1, "b", Token("c")), "i": (),
    }  # fmt: skip


def test_the_last_of_equal_keys_counts() -> None:
    assert parse_dictionary("a=1, b=2, a=3") == {"b": 2, "a": 3}
    assert parse_dictionary(" ") == {}


@pytest.mark.parametrize(
    "text",
    ["a=", "a=1234567890123456", "a=1.", "a=1.2345", "a=(1,2)", "a=(1", 'a=(1"b")', "=1", "a b", 'a="', "a=$", "a;"],
)
def test_what_is_no_dictionary_is_nothing(text: str) -> None:
    assert parse_dictionary(text) is None


@given(st.binary(max_size=60))
def test_no_bytes_break_the_parsers(value: bytes) -> None:
    said(value, cdn_cache_control=value)
    asked(value)

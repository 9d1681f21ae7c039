"""Validators, preconditions and ranges, and the responses that are made by them."""

import pytest

from sidecar.filters.cache.conditions import (
    confirms,
    lines_of_304,
    not_modified,
    range_applies,
    same_representation,
    validating,
)
from sidecar.filters.cache.directives import Said
from sidecar.filters.cache.entry import Came, Entry, make, raw_lines
from sidecar.filters.cache.fields import collect
from sidecar.filters.cache.ranges import content_range, span
from sidecar.filters.cache.respond import fresh, respond

NOW = 784_111_777.0
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = b"Sun, 06 Nov 1994 08:00:00 GMT"
AFTER = b"Sun, 06 Nov 1994 09:00:00 GMT"
BODY = b"0123456789"


def entry(status: int = 200, *lines: tuple[bytes, bytes]) -> Entry:
    listed = [(b"Date", DATE), (b"ETag", b'"1"'), (b"Last-Modified", BEFORE), (b"Content-Type", b"a/b"), *lines]
    came = Came(("http", "a", b"/"), (), {}, NOW, NOW, status, b"Fine", listed, collect(listed))
    return make(came, Said(max_age=60), 60, length=len(BODY))


@pytest.mark.parametrize(
    ("tags", "stored", "same"),
    [
        (b'"1"', b'"1"', True),
        (b'W/"1"', b'"1"', True),
        (b'"1"', b'W/"1"', True),
        (b'"0", W/"1" ,"2"', b'"1"', True),
        (b"*", b'"1"', True),
        (b"*", None, True),
        (b'"2"', b'"1"', False),
        (b'"1"', None, False),
        (b"1", b'"1"', False),
        (b"1", b"1", True),
        (b'"a,b"', b'"a,b"', True),
        (b'"a,b"', b'"a"', False),
    ],
)
def test_if_none_match_compares_weakly_with_each_of_its_tags(tags: bytes, stored: bytes | None, same: bool) -> None:
    validators = {b"etag": stored} if stored is not None else {}
    assert not_modified({b"if-none-match": tags}, validators, NOW) is same


def test_if_none_match_takes_precedence_over_if_modified_since() -> None:
    asked = {b"if-none-match": b'"2"', b"if-modified-since": AFTER}
    assert not not_modified(asked, {b"etag": b'"1"', b"last-modified": BEFORE}, NOW)


@pytest.mark.parametrize(
    ("since", "modified", "same"),
    [
        (BEFORE, BEFORE, True),
        (AFTER, BEFORE, True),
        (BEFORE, AFTER, False),
        (b"soon", BEFORE, False),
        (AFTER, b"x", False),
    ],
)
def test_if_modified_since_compares_dates(since: bytes, modified: bytes, same: bool) -> None:
    assert not_modified({b"if-modified-since": since}, {b"last-modified": modified}, NOW) is same


def test_without_last_modified_date_counts_and_without_date_the_time_of_receipt() -> None:
    assert not_modified({b"if-modified-since": AFTER}, {b"date": DATE}, NOW)
    assert not not_modified({b"if-modified-since": BEFORE}, {b"date": DATE}, NOW)
    assert not_modified({b"if-modified-since": AFTER}, {}, NOW)
    assert not not_modified({b"if-modified-since": BEFORE}, {}, NOW)
    assert not not_modified({}, {}, NOW)


def test_if_range_needs_a_strong_match() -> None:
    validators = {b"etag": b'"1"', b"last-modified": BEFORE, b"date": DATE}
    assert range_applies({}, validators, NOW)
    assert range_applies({b"if-range": b'"1"'}, validators, NOW)
    assert not range_applies({b"if-range": b'W/"1"'}, {b"etag": b'W/"1"'}, NOW)
    assert not range_applies({b"if-range": b'"2"'}, validators, NOW)
    assert range_applies({b"if-range": BEFORE}, validators, NOW)
    assert not range_applies({b"if-range": AFTER}, validators, NOW)
    assert not range_applies({b"if-range": BEFORE}, {}, NOW)


def test_a_modification_in_the_second_of_its_date_is_a_weak_validator() -> None:
    assert not range_applies({b"if-range": DATE}, {b"last-modified": DATE, b"date": DATE}, NOW)
    assert not range_applies({b"if-range": DATE}, {b"last-modified": DATE}, NOW)


def test_a_validating_request_carries_both_validators_and_no_condition_of_the_client() -> None:
    lines = [(b"Host", b"a"), (b"If-None-Match", b'"9"'), (b"Range", b"bytes=0-1"), (b"If-Range", b'"9"')]
    validators = {b"etag": b'"1"', b"last-modified": BEFORE}
    assert validating(lines, validators) == [
        (b"Host", b"a"),
        (b"If-None-Match", b'"1"'),
        (b"If-Modified-Since", BEFORE),
    ]
    assert validating(lines, {}) == [(b"Host", b"a")]


@pytest.mark.parametrize(
    ("newer", "stored", "same"),
    [
        ({b"etag": b'"1"'}, {b"etag": b'"1"'}, True),
        ({b"etag": b'"2"'}, {b"etag": b'"1"'}, False),
        ({b"etag": b'"1"'}, {b"etag": b'W/"1"'}, False),
        ({b"etag": b'W/"1"'}, {b"etag": b'"1"'}, True),
        ({b"etag": b'W/"1"'}, {}, False),
        ({}, {b"etag": b'"1"'}, True),
        ({b"last-modified": BEFORE}, {b"last-modified": BEFORE}, True),
        ({b"last-modified": AFTER}, {b"last-modified": BEFORE}, False),
        ({b"last-modified": AFTER}, {b"etag": b'"1"'}, True),
    ],
)
def test_a_304_updates_what_its_validator_identifies(
    newer: dict[bytes, bytes], stored: dict[bytes, bytes], same: bool
) -> None:
    assert confirms(newer, stored) is same


def test_a_head_speaks_of_the_same_where_every_validator_it_has_is_equal() -> None:
    stored = {b"etag": b'"1"', b"content-length": b"5"}
    assert same_representation({b"etag": b'"1"', b"content-length": b"5"}, stored)
    assert same_representation({}, stored)
    assert not same_representation({b"content-length": b"6"}, stored)
    assert not same_representation({b"last-modified": DATE}, stored)


def test_a_304_carries_what_guides_caches_and_nothing_about_content() -> None:
    lines = [(b"ETag", b"x"), (b"Last-Modified", DATE), (b"Content-Type", b"t"), (b"Cache-Control", b"c")]
    assert lines_of_304(lines) == [(b"ETag", b"x"), (b"Cache-Control", b"c")]
    assert lines_of_304(lines[1:]) == [(b"Last-Modified", DATE), (b"Cache-Control", b"c")]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"bytes=0-1", (0, 2)),
        (b"bytes=1-", (1, 10)),
        (b"bytes=-1", (9, 10)),
        (b"bytes=-99", (0, 10)),
        (b"bytes=5-99", (5, 10)),
        (b"Bytes= 0-0", (0, 1)),
        (b"bytes=10-", "unsatisfiable"),
        (b"bytes=-0", "unsatisfiable"),
        (b"bytes=2-1", "whole"),
        (b"bytes=-", "whole"),
        (b"bytes=0-1,3-4", "whole"),
        (b"lines=0-1", "whole"),
        (b"x", "whole"),
    ],
)
def test_a_range_is_the_bytes_that_it_names(value: bytes, found: object) -> None:
    assert span(value, 10) == found


def test_no_range_of_nothing_can_be_satisfied() -> None:
    assert span(b"bytes=-5", 0) == "unsatisfiable"
    assert span(b"bytes=0-", 0) == "unsatisfiable"


def test_content_range_counts_from_zero_and_to_the_last_byte() -> None:
    assert content_range((2, 5), 10) == b"bytes 2-4/10"
    assert content_range(None, 10) == b"bytes */10"


def test_the_whole_response_has_its_age_and_lines_ready_to_be_sent() -> None:
    stored = entry()
    response = respond(stored, BODY, "GET", {}, NOW + 7.9, b"me; hit")
    assert (response.status, response.body, response.declared) == (200, BODY, True)
    assert response.headers[-2:] == [(b"Age", b"7"), (b"Cache-Status", b"me; hit")]
    assert response.ready == (stored.lines, stored.raw)
    assert response.headers.get("Content-Length") == "10"


def test_a_hit_has_all_its_bytes_ready_and_is_as_old_as_it_is() -> None:
    stored = entry()
    for now, age, name in (
        (NOW + 7.2, b"7", b"me"),
        (NOW + 7.9, b"7", b"me"),
        (NOW + 8, b"8", b"me"),
        (NOW + 8, b"8", b""),
    ):
        response = fresh(stored, BODY, now, name)
        lines = [*stored.lines, (b"Age", age)]
        if name:
            ttl = 53 if now < NOW + 8 else 52
            lines.append((b"Cache-Status", b"me; hit; ttl=%d" % ttl))
        assert (response.status, response.body, response.declared) == (200, BODY, True)
        assert response.headers == lines
        assert response.ready == (lines, raw_lines(lines))
    response.headers.add("X-Own", "1")
    assert len(fresh(stored, BODY, NOW + 8, b"").headers) == len(lines)


def test_no_cache_status_where_none_is_wanted() -> None:
    assert respond(entry(), BODY, "GET", {}, NOW, b"").headers.get("Cache-Status") is None


def test_a_client_that_has_it_gets_a_304_with_the_etag_and_without_content_type() -> None:
    response = respond(entry(), BODY, "GET", {b"if-none-match": b'"1"'}, NOW, b"")
    assert (response.status, response.body) == (304, b"")
    assert response.headers.get("ETag") == '"1"'
    assert response.headers.get("Content-Type") is None
    assert response.headers.get("Age") == "0"


def test_only_a_200_is_conditional_or_cut() -> None:
    assert respond(entry(404), BODY, "GET", {b"if-none-match": b'"1"'}, NOW, b"").status == 404
    assert respond(entry(404), BODY, "GET", {b"range": b"bytes=0-1"}, NOW, b"").status == 404


def test_a_range_is_a_206_with_its_place_and_its_length() -> None:
    response = respond(entry(), BODY, "GET", {b"range": b"bytes=2-4"}, NOW, b"")
    assert (response.status, response.body) == (206, b"234")
    assert response.headers.get("Content-Range") == "bytes 2-4/10"
    assert response.headers.get("Content-Length") == "3"
    assert response.headers.get("ETag") == '"1"'


def test_a_range_beyond_the_end_is_a_416_that_says_how_long_it_is() -> None:
    response = respond(entry(), BODY, "GET", {b"range": b"bytes=10-"}, NOW, b"")
    assert (response.status, response.body) == (416, b"")
    assert response.headers.get("Content-Range") == "bytes */10"


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("HEAD", {b"range": b"bytes=0-1"}),
        ("GET", {b"range": b"bytes=0-1", b"if-range": b'"2"'}),
        ("GET", {b"range": b"bytes=0-1,4-5"}),
    ],
)
def test_a_range_that_does_not_apply_gets_the_whole(method: str, asked: dict[bytes, bytes]) -> None:
    assert respond(entry(), BODY, method, asked, NOW, b"").status == 200

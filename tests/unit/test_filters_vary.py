"""The `Vary` field: appended to, never said twice."""

import pytest

from sidecar.filters.vary import add_vary
from sidecar.model import Headers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [(b"Vary", b"Origin")]),
        ([(b"X", b"1")], [(b"X", b"1"), (b"Vary", b"Origin")]),
        ([(b"vary", b"Accept")], [(b"vary", b"Accept, Origin")]),
        ([(b"Vary", b"")], [(b"Vary", b"Origin")]),
        ([(b"Vary", b"a"), (b"Vary", b"b")], [(b"Vary", b"a"), (b"Vary", b"b, Origin")]),
        ([(b"Vary", b"accept , oRIGIN")], [(b"Vary", b"accept , oRIGIN")]),
        ([(b"Vary", b"origin"), (b"Vary", b"b")], [(b"Vary", b"origin"), (b"Vary", b"b")]),
        ([(b"Vary", b"*")], [(b"Vary", b"*")]),
        ([(b"Vary", b"X-Origin")], [(b"Vary", b"X-Origin, Origin")]),
        ([(b"Vera", b"Origin")], [(b"Vera", b"Origin"), (b"Vary", b"Origin")]),
    ],
)
def test_a_name_is_added_once_to_the_last_line(
    before: list[tuple[bytes, bytes]], after: list[tuple[bytes, bytes]]
) -> None:
    headers = Headers(before)
    add_vary(headers, b"Origin")
    assert headers == after
    add_vary(headers, b"Origin")
    assert headers == after

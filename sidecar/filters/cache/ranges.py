"""Byte ranges of a complete stored response (RFC 9110 §14). Pure.

One range is answered with 206, none that fits with 416; several, and what is no valid range, with the whole, as
§14.2 allows.
"""

import re
from typing import Literal

_RANGE = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)


def span(value: bytes, size: int) -> tuple[int, int] | Literal["whole", "unsatisfiable"]:
    """First byte and the one behind the last, of a body of `size` bytes."""
    match = _RANGE.fullmatch(value.strip(b" \t"))
    if match is None or not (match[1] or match[2]):
        return "whole"
    if not match[1]:
        suffix = int(match[2])
        return (max(0, size - suffix), size) if suffix and size else "unsatisfiable"
    first = int(match[1])
    if match[2] and int(match[2]) < first:
        return "whole"
    if first >= size:
        return "unsatisfiable"
    return first, min(int(match[2]) + 1, size) if match[2] else size


def content_range(found: tuple[int, int] | None, size: int) -> bytes:
    """The value of Content-Range; without a range that of a 416."""
    return b"bytes */%d" % size if found is None else b"bytes %d-%d/%d" % (found[0], found[1] - 1, size)

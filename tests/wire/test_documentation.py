"""`docs/http.md` and the corpus name each other: no row without a case, no case without a row."""

import re
from pathlib import Path

from tests.support.corpus import load

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| input |")]
NAMES = re.compile(r"`([a-z_]+/[^`]+)`")
CASES = load()


def _names(row: str) -> list[str]:
    return NAMES.findall(row.rstrip("| ").rpartition("|")[2])


def test_every_row_names_a_case_and_every_column_says_something() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        assert _names(row), row
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 7, row
        assert all(cells), row


def test_every_case_that_is_named_exists() -> None:
    known = {name for case in CASES for name in (f"{case.topic}/{case.name}", f"{case.topic}/{case.family}")}
    for row in ROWS:
        assert set(_names(row)) <= known, row


def test_every_case_is_named() -> None:
    named = {name for row in ROWS for name in _names(row)}
    assert {f"{case.topic}/{case.family}" for case in CASES} - named == set()

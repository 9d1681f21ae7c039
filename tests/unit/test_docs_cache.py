"""`docs/cache.md` gives each rule a test, and each test that it names exists; so does the list of attacks."""

import re
from pathlib import Path

import pytest

from sidecar.config.load import load
from sidecar.config.model import Cache, CacheDisk, CacheFilter, Duration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cache.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()
TESTS = frozenset(
    name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())
)
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
ROWS = re.findall(r"^\| [\d.][\d., ]* \| (.*) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_page_names_exists(name: str) -> None:
    assert name in TESTS


@pytest.mark.parametrize("row", ROWS)
def test_a_rule_has_a_test(row: str) -> None:
    assert "`test_" in row


def test_the_rules_of_all_five_rfcs_are_there() -> None:
    assert len(ROWS) > 80
    for rfc in ("9111", "5861", "8246", "9211", "9213"):
        assert f"\n## RFC {rfc}" in PAGE


def test_the_example_is_right() -> None:
    example = load(ROOT / "docs/examples/cache.yaml")
    assert example.listeners[0].routes[0].rules[0].filters == (
        CacheFilter(
            cache=Cache(
                max_bytes=128 << 20, disk=CacheDisk(path="cache", max_bytes=1 << 30), stale_if_error=Duration(3600)
            )
        ),
    )


def test_the_attacks_on_the_cache_have_tests_that_exist() -> None:
    section = re.search(r"^## Filter `Cache`\n((?:(?!## ).*\n)*)", SECURITY, re.MULTILINE)
    assert section is not None
    named = re.findall(r"`(test_\w+)`", section[1])
    assert len(named) >= 10
    assert set(named) <= TESTS

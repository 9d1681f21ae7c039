"""What the Cache filter's settings may hold, and what rules that share a store must agree on."""

from typing import Any

import pytest

from sidecar.config.load import parse
from sidecar.errors import ConfigError
from tests.support.proxy import reverse


def refused(**settings: object) -> str:
    with pytest.raises(ConfigError) as error:
        parse(reverse("127.0.0.1:9", rule={"filters": [{"type": "Cache", "cache": settings}]}))
    assert error.value.path.startswith("$.listeners[0].routes[0].rules[0].filters[0].cache")
    return str(error.value).removeprefix("$.listeners[0].routes[0].rules[0].filters[0].cache")


def two(first: dict[str, Any], second: dict[str, Any]) -> None:
    config = reverse("127.0.0.1:9")
    rules = [
        {"filters": [{"type": "Cache", "cache": each}], "backendRefs": [{"name": "app"}]} for each in (first, second)
    ]
    config["listeners"][0]["routes"] = [{"rules": rules}]
    parse(config)


def test_empty_settings_are_right() -> None:
    parse(reverse("127.0.0.1:9", rule={"filters": [{"type": "Cache"}]}))
    parse(reverse("127.0.0.1:9", rule={"filters": [{"type": "Cache", "cache": {}}]}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"maxBytes": 1}, ".maxBytes: expected 65536 or more"),
        ({"maxEntryBytes": 0}, ".maxEntryBytes: expected 1 or more"),
        ({"name": "a b"}, ".name: expected 1 to 253 visible"),
        ({"disk": {"path": ""}}, ".disk.path: expected a folder"),
        ({"disk": {"path": "x", "maxBytes": 1}}, ".disk.maxBytes: expected 65536"),
        ({"identifier": "\n"}, ".identifier: "),
        ({"identifier": "x" * 65}, ".identifier: "),
        ({"heuristicPercent": 101}, ".heuristicPercent: expected 0 to 100"),
        ({"targets": ["a b"]}, ".targets[0]: expected a header name"),
        ({"keyHeaders": [":x"]}, ".keyHeaders[0]: "),
        ({"keyHeaders": ["a", "A"]}, ".keyHeaders[1]: header 'a' is taken"),
        ({"unkeyed": "x"}, ".unkeyed: "),
        ({"keyHeaders": [f"x{at}" for at in range(17)]}, ".keyHeaders: expected 16 at most, got 17"),
        ({"collapseTimeout": 5}, ".collapseTimeout: "),
        ({"timeToLive": "5s"}, ": unknown field `timeToLive`"),
    ],
)
def test_a_mistake_is_named_with_its_field(settings: dict[str, object], said: str) -> None:
    assert refused(**settings).startswith(said)


def test_rules_that_share_a_store_agree_on_it() -> None:
    two({"name": "a"}, {"name": "a", "identifier": "other"})
    with pytest.raises(ConfigError, match=r"rules\[1\].filters\[0\].cache.name: .*rules\[0\].* shares this store"):
        two({"name": "a"}, {"name": "a", "maxBytes": 1 << 20})


def test_a_folder_belongs_to_one_store() -> None:
    disk = {"path": "x"}
    two({"name": "a", "disk": disk}, {"name": "a", "disk": disk})
    for first, second in (({}, {}), ({"name": "a"}, {"name": "b"})):
        with pytest.raises(ConfigError, match=r"rules\[1\].filters\[0\].cache.disk.path: .* has this folder"):
            two({**first, "disk": disk}, {**second, "disk": disk})


def test_a_rule_takes_one_cache() -> None:
    with pytest.raises(ConfigError, match=r"filters\[1\]: a rule takes one Cache"):
        parse(reverse("127.0.0.1:9", rule={"filters": [{"type": "Cache"}, {"type": "Cache"}]}))

"""Annotations of a pod: which are known, what they may hold, and what they change."""

import pytest

from sidecar.inject.annotations import CONFIG_PREFIX, KNOWN, chosen, problems
from sidecar.inject.settings import Settings

GOOD = {
    "cpu-request": ["100m", "1", "0.5", ".5", "1."],
    "cpu-limit": ["2"],
    "memory-request": ["64Mi", "1e9", "128974848"],
    "memory-limit": ["1Gi", "500M"],
    "port-names": ["http", "http-*,web", "*", ""],
    "skip-inbound-ports": ["8080", "8080,9090"],
    "no-proxy": ["a.example", ".internal,10.0.0.0/8"],
    "config-map": ["shop", "shop.proxy-2"],
}
BAD = {
    "cpu-request": ["", "100 m", "lots", "-1", "1mi"],
    "cpu-limit": ["1,5"],
    "memory-request": ["64MB"],
    "memory-limit": ["Mi"],
    "port-names": ["http,", "Http", "http *", "ht*tp"],
    "skip-inbound-ports": ["http", "8080;9090", ""],
    "no-proxy": ["", "a, b", "a,,b"],
    "config-map": ["", "Shop", "-a"],
}


def said(**values: str) -> dict[str, str]:
    return {CONFIG_PREFIX + name.replace("_", "-"): value for name, value in values.items()}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_value_of_the_right_form_is_taken(name: str, value: str) -> None:
    assert problems({CONFIG_PREFIX + name: value}) == []


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_of_another_form_is_a_problem_that_says_what_was_expected(name: str, value: str) -> None:
    (problem,) = problems({CONFIG_PREFIX + name: value})
    assert str(problem) == f"annotation {CONFIG_PREFIX}{name}: expected {KNOWN[name][0]}, got {value!a}"


def test_the_tables_of_the_test_cover_every_annotation() -> None:
    assert set(GOOD) == set(BAD) == set(KNOWN)


def test_an_unknown_annotation_is_a_problem_that_names_the_nearest() -> None:
    (problem,) = problems(said(memory_limits="1"))
    assert str(problem).endswith(f"unknown; did you mean {CONFIG_PREFIX}memory-limit?")


def test_a_value_that_is_no_string_is_a_problem() -> None:
    (problem,) = problems({f"{CONFIG_PREFIX}cpu-limit": 2})
    assert problem.reason == "expected a string, got 2: put it in quotes"


def test_annotations_of_others_are_none_of_ours() -> None:
    assert problems({"config.linkerd.io/proxy-cpu-limit": "x", "note": ""}) == []


def test_resources_are_laid_over_those_of_the_settings() -> None:
    mine = chosen(Settings(), said(cpu_limit="1", memory_request="96Mi"))
    assert mine.settings.resources == {
        "requests": {"cpu": "20m", "memory": "96Mi"},
        "limits": {"memory": "192Mi", "cpu": "1"},
    }
    assert Settings().resources["requests"]["memory"] == "64Mi"


def test_what_is_wrong_changes_nothing() -> None:
    assert chosen(Settings(), said(cpu_limit="lots", no_proxy="", colour="red")) == chosen(Settings(), {})


def test_names_ports_hosts_and_the_config_map_are_taken() -> None:
    settings = Settings(no_proxy=("a",))
    mine = chosen(settings, said(port_names="api,api-*", skip_inbound_ports="1,2", no_proxy="b,c", config_map="shop"))
    assert mine.settings.inbound.port_names == ("api", "api-*")
    assert mine.settings.no_proxy == ("a", "b", "c")
    assert (mine.skipped, mine.config_map) == ({1, 2}, "shop")

"""The chart's values as settings, and the configuration that comes of them."""

import json

import pytest

from sidecar.config.load import parse
from sidecar.errors import ConfigError
from sidecar.inject.settings import Settings, canonical, configuration, settings

ROUTE = {"name": "billing", "rules": [{"backendRefs": [{"name": "billing"}]}]}
BILLING = {"name": "billing", "dns": {"host": "billing.example", "port": 443}}


def test_the_default_configuration_is_one_that_the_sidecar_takes() -> None:
    config = parse(configuration(Settings()))
    assert [listener.name for listener in config.listeners] == ["outbound", "inbound"]
    assert [cluster.name for cluster in config.clusters] == ["app"]


def test_routes_and_further_sections_reach_the_configuration() -> None:
    values = {"outbound": {"routes": [ROUTE]}, "config": {"extra": {"clusters": [BILLING], "warm_timeout": "3s"}}}
    config = parse(configuration(settings(values)))
    assert [route.name for route in config.listeners[0].routes] == ["billing"]
    assert [cluster.name for cluster in config.clusters] == ["app", "billing"]
    assert config.warm_timeout == 3


def test_without_inbound_there_is_nothing_of_the_app() -> None:
    config = parse(configuration(settings({"inbound": {"enabled": False}})))
    assert [listener.name for listener in config.listeners] == ["outbound"]
    assert config.clusters == ()


def test_values_of_the_charts_own_objects_are_none_of_the_containers() -> None:
    values = {"rbac": {"create": False}, "commonLabels": {}, "fullnameOverride": "x", "global": {}, "injection": {}}
    assert settings(values) == Settings()


def test_an_unknown_value_is_refused_by_its_path() -> None:
    with pytest.raises(ConfigError, match=r"^\$\.ports: Object contains unknown field `outbond`"):
        settings({"ports": {"outbond": 1}})


def test_json_is_written_as_helm_writes_it() -> None:
    data = {"b": [1.0, 0.5, True, None], "a": "<&> é", "c": {"y": (1,), "x": {}}}
    text = canonical(data)
    assert text == '{"a":"\\u003c\\u0026\\u003e é","b":[1,0.5,true,null],"c":{"x":{},"y":[1]}}'
    assert json.loads(text)["a"] == "<&> é"

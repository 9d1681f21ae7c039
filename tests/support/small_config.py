"""A small right configuration as plain data, and ways to break it."""

import copy
from typing import Any

import pytest

from sidecar.config.load import parse
from sidecar.errors import ConfigError
from tests.support.configs import Data

SMALL: Data = {
    "listeners": [{"name": "in", "address": ":8080", "routes": [{"rules": [{"backendRefs": [{"name": "app"}]}]}]}],
    "clusters": [{"name": "app", "static": {"endpoints": ["127.0.0.1:9000"]}}],
}
RULE = "listeners[0].routes[0].rules[0]"
CLUSTER = "clusters[0]"


def change(path: str, value: object) -> Data:
    """SMALL with one field set; `path` is as in errors, without `$.`."""
    data: Any = copy.deepcopy(SMALL)
    at = data
    keys = [int(key) if key.isdigit() else key for key in path.replace("[", ".").replace("]", "").split(".")]
    for key in keys[:-1]:
        at = at[key] if isinstance(key, int) or key in at else at.setdefault(key, {})
    at[keys[-1]] = value
    return data


def refusal(data: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    text = str(caught.value)
    assert "\n" not in text
    return text

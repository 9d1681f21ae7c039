"""The JSON Schema for editors: up to date, and of one opinion with the parser."""

import json
from pathlib import Path

import jsonschema
from hypothesis import HealthCheck, given, settings

from sidecar.config.schema import schema
from tests.support.configs import Data, configs
from tests.support.small_config import change


def test_the_schema_in_the_documentation_is_the_one_of_the_structs() -> None:
    written = json.loads((Path(__file__).parents[2] / "docs" / "config.schema.json").read_text())
    assert written == json.loads(json.dumps(schema())), (
        "run `python -m sidecar.config.schema > docs/config.schema.json`"
    )


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(configs)
def test_the_schema_takes_every_right_configuration(data: Data) -> None:
    jsonschema.Draft202012Validator(schema()).validate(json.loads(json.dumps(data)))


def test_the_schema_refuses_unknown_fields_and_wrong_durations() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for data in (change("x", 1), change("warm_timeout", "5x"), change("listeners[0].mode", "x"), {}):
        assert not validator.is_valid(data)

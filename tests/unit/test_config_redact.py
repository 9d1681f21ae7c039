"""Secrets that were written into a configuration are not shown."""

import json

from sidecar.config.load import dump, parse
from sidecar.config.redact import redacted
from tests.support.small_config import SMALL, change


def test_secrets_are_hidden_and_the_rest_is_shown() -> None:
    secret = "s3cret"
    modifier = {"set": [{"name": "Authorization", "value": secret}], "add": [{"name": "x-b", "value": "seen"}]}
    rule = {
        "matches": [{"headers": [{"name": "X-Api-Key", "value": secret}, {"name": "x-team", "value": "shop"}]}],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier},
            {
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"add": [{"name": "set-cookie", "value": secret}]},
            },
            {
                "type": "Python",
                "python": {
                    "function": "a:b",
                    "settings": {
                        "db_password": secret,
                        "deep": [{"TOKEN": {"a": secret}}],
                        "secrets": [secret],
                        "url": "seen",
                    },
                },
            },
        ],
    }
    shown = json.dumps(redacted(parse(change("listeners[0].routes[0].rules", [rule]))))
    assert secret not in shown
    assert shown.count("seen") == 2
    assert '"shop"' in shown


def test_a_redacted_configuration_without_secrets_is_the_dumped_one() -> None:
    config = parse(SMALL)
    assert redacted(config) == json.loads(json.dumps(dump(config)))

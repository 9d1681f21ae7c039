"""Hides what looks like a secret in a configuration before it is shown.

Secrets belong into files and variables; this guards against those that were written down all the same: values of
headers that carry credentials, and settings of Python filters whose name says so.
"""

import re
from typing import cast

from sidecar.config.load import dump
from sidecar.config.model import Config

_SECRET = re.compile(r"password|passwd|secret|token|key|credential", re.IGNORECASE)
_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
_HIDDEN = "(hidden)"


def redacted(config: Config) -> dict[str, object]:
    """The configuration as plain data with every default, secrets replaced."""
    return cast("dict[str, object]", _redact(dump(config)))


def _redact(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_secret_header(value):
        return {**value, "value": _HIDDEN}
    return {name: _settings(item) if name == "settings" else _redact(item) for name, item in value.items()}


def _is_secret_header(value: dict[str, object]) -> bool:
    """A header of a modifier or of a match: `{name: …, value: …}`."""
    name = value.get("name")
    return "value" in value and isinstance(name, str) and (name.lower() in _HEADERS or _SECRET.search(name) is not None)


def _settings(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_settings(item) for item in value]
    if isinstance(value, dict):
        return {name: _HIDDEN if _SECRET.search(str(name)) else _settings(item) for name, item in value.items()}
    return value

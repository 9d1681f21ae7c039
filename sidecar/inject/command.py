"""Reads what `sidecar inject` is pointed at: manifests from a file or standard input, settings from chart values."""

import sys
from pathlib import Path
from typing import Any

import yaml

from sidecar.errors import ConfigError
from sidecar.inject.settings import settings
from sidecar.inject.stream import Result, rewrite


def inject(file: str, values: list[str], *, undo: bool) -> Result:
    """The manifests of `file` (`-`: standard input) rewritten; raises ConfigError naming file and field."""
    chosen: dict[str, Any] = {}
    for path in values:
        chosen = _merged(chosen, _values(path))
    try:
        mine = settings(chosen)
    except ConfigError as error:
        raise ConfigError(error.path, error.reason, file=values[-1]) from None
    try:
        return rewrite(_read(file), mine, undo=undo)
    except ConfigError as error:
        raise ConfigError(error.path, error.reason, file=file) from None


def _values(path: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise ConfigError("", f"not YAML: {' '.join(str(error).split())}", file=path) from None
    if not isinstance(data, dict | None):
        raise ConfigError("", "expected values of the chart", file=path)
    return data or {}


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"cannot read it: {error}", file=path) from None


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As Helm lays values over values: objects by key, everything else replaced."""
    trees = {
        key: _merged(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | trees

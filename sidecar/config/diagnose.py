"""Says what is wrong with data that does not fit the structs of `model.py`, in the words of who wrote the file.

msgspec decides whether data fits; this module is asked only afterwards. It adds what msgspec does not say: the field
that was probably meant, the values that a choice has, the value that was found.
What a value means (ports, addresses, names that must exist) is judged in `check.py`.
"""

import difflib
from collections.abc import Iterable
from typing import cast

import msgspec
from msgspec import inspect

from sidecar.config.model import Config, Duration
from sidecar.errors import ConfigError

_EXPECTED: dict[type, tuple[type | tuple[type, ...], str]] = {
    inspect.StrType: (str, "a string"),
    inspect.IntType: (int, "an integer"),
    inspect.FloatType: ((int, float), "a number"),
    inspect.BoolType: (bool, "true or false"),
    inspect.NoneType: (type(None), "null"),
    inspect.VarTupleType: ((list, tuple), "a list"),
    inspect.DictType: (dict, "a mapping"),
    inspect.StructType: (dict, "a mapping"),
}


def explain(error: msgspec.ValidationError, data: object) -> ConfigError:
    """The same complaint with its field path; `data` is what `msgspec.convert` refused."""
    try:
        _fit(inspect.type_info(Config), data, "$")
    except ConfigError as found:
        return found
    return ConfigError("$", str(error))  # a rule of msgspec that the walk below does not know


def _fit(kind: inspect.Type, data: object, path: str) -> None:
    """Raise ConfigError for the first misfit, in the order of the file."""
    if isinstance(kind, inspect.UnionType):
        _fit(_member(kind, data, path), data, path)
    elif isinstance(kind, inspect.LiteralType):
        _one_of([str(value) for value in kind.values], data, path, "value", found=data in kind.values)
    elif isinstance(kind, inspect.CustomType):
        _duration(data, path)
    else:
        types, words = _EXPECTED[type(kind)]
        if not isinstance(data, types) or (isinstance(data, bool) and not isinstance(kind, inspect.BoolType)):
            raise _unexpected(words, data, path)
        _fit_inside(kind, data, path)


def _fit_inside(kind: inspect.Type, data: object, path: str) -> None:
    if isinstance(kind, inspect.VarTupleType):
        for at, item in enumerate(cast("list[object]", data)):
            _fit(kind.item_type, item, f"{path}[{at}]")
    elif isinstance(data, dict):
        names = _names(data, path)
        if isinstance(kind, inspect.StructType):
            _fit_struct(kind, names, path)


def _fit_struct(kind: inspect.StructType, data: dict[str, object], path: str) -> None:
    fields = {field.encode_name: field for field in kind.fields}
    known = [*fields, kind.tag_field] if kind.tag_field else [*fields]
    for name, value in data.items():
        if name not in known:
            raise ConfigError(path, f"unknown field `{name}`; {_suggest(name, known, 'field')}")
        if name in fields:
            _fit(fields[name].type, value, f"{path}.{name}")
    for name, field in fields.items():
        if field.required and name not in data:
            raise ConfigError(path, f"field `{name}` is missing")


def _member(kind: inspect.UnionType, data: object, path: str) -> inspect.Type:
    """The member of the union that the data seems to mean."""
    tagged = {str(each.tag): each for each in kind.types if isinstance(each, inspect.StructType) and each.tag_field}
    if tagged and isinstance(data, dict):
        if "type" not in data:
            raise ConfigError(path, f"field `type` is missing; {_choices(tagged)}")
        _one_of(list(tagged), data["type"], f"{path}.type", "value", found=data["type"] in [*tagged])
        return tagged[data["type"]]
    for each in kind.types:
        types = _EXPECTED.get(type(each), (object, ""))[0]
        if isinstance(data, types) and not isinstance(each, inspect.LiteralType | inspect.CustomType):
            return each
    return next(each for each in kind.types if not isinstance(each, inspect.NoneType))


def _duration(data: object, path: str) -> None:
    try:
        Duration.parse(data)
    except ValueError as error:
        raise ConfigError(path, str(error)) from None


def _one_of(choices: list[str], data: object, path: str, noun: str, *, found: bool) -> None:
    if not found:
        raise ConfigError(path, f"unknown {noun} {_show(data)}; {_suggest(str(data), choices, noun)}")


def _names(data: dict[object, object], path: str) -> dict[str, object]:
    for key in data:
        if not isinstance(key, str):
            raise ConfigError(path, f"expected field names that are strings, got {_show(key)}; quote it")
    return cast("dict[str, object]", data)


def _suggest(name: str, known: Iterable[str], noun: str) -> str:
    """The nearest of the known names, else all of them."""
    names = list(known)
    lowered = {each.lower(): each for each in names}
    spellings = (name.lower(), name.lower().replace("_", ""))  # the second finds camelCase
    close = [each for spelling in spellings for each in difflib.get_close_matches(spelling, lowered, n=1)]
    return f"did you mean `{lowered[close[0]]}`?" if close else _choices(names, noun)


def _choices(names: Iterable[str], noun: str = "value") -> str:
    return f"known {noun}s: {', '.join(f'`{name}`' for name in names)}"


def _unexpected(words: str, data: object, path: str) -> ConfigError:
    quote = "; quote it" if words == "a string" and isinstance(data, bool | int | float) else ""
    return ConfigError(path, f"expected {words}, got {_show(data)}{quote}")


def _show(data: object) -> str:
    """A value as the file has it, short and on one line."""
    if isinstance(data, dict | list | tuple):
        return "a mapping" if isinstance(data, dict) else "a list"
    if data is None or isinstance(data, bool):
        return {None: "nothing", True: "true", False: "false"}[data]
    text = ascii(data)
    return text if len(text) <= 80 else f"{text[:77]}..."

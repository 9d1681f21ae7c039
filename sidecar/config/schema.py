"""The JSON Schema of the configuration file, for editors; `python -m sidecar.config.schema` prints it.

It is made from the structs of `model.py`, so it knows names, types, choices and defaults. What fields mean together is
judged by `sidecar check` alone.
"""

import json
import sys

import msgspec
from msgspec import inspect

from sidecar.config.model import Config

_DURATION = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?([0-9]{1,5}ms)?$"
_PLAIN: dict[type, dict[str, object]] = {
    inspect.AnyType: {},
    inspect.StrType: {"type": "string"},
    inspect.IntType: {"type": "integer"},
    inspect.FloatType: {"type": "number"},
    inspect.BoolType: {"type": "boolean"},
    inspect.NoneType: {"type": "null"},
    inspect.DictType: {"type": "object"},
    inspect.CustomType: {"type": "string", "pattern": _DURATION, "minLength": 2},  # durations are the only ones
}


def schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) with one definition a section."""
    definitions: dict[str, object] = {}
    root = _schema(inspect.type_info(Config), definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sidecar configuration",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(kind: inspect.Type, definitions: dict[str, object]) -> dict[str, object]:
    if isinstance(kind, inspect.StructType):
        name = kind.cls.__name__
        if name not in definitions:
            definitions[name] = None  # holds the place while its fields are written
            definitions[name] = _struct(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(kind, inspect.UnionType):
        return {"anyOf": [_schema(each, definitions) for each in kind.types]}
    if isinstance(kind, inspect.VarTupleType):
        return {"type": "array", "items": _schema(kind.item_type, definitions)}
    if isinstance(kind, inspect.LiteralType):
        return {"enum": list(kind.values)}
    return dict(_PLAIN[type(kind)])


def _struct(kind: inspect.StructType, definitions: dict[str, object]) -> dict[str, object]:
    properties: dict[str, object] = {kind.tag_field: {"const": kind.tag}} if kind.tag_field else {}
    for field in kind.fields:
        properties[field.encode_name] = _schema(field.type, definitions)
        if field.default is not msgspec.NODEFAULT and field.default is not None:
            default = msgspec.to_builtins(field.default, enc_hook=str)
            properties[field.encode_name] = {**_schema(field.type, definitions), "default": default}
    required = [field.encode_name for field in kind.fields if field.required]
    return {
        "description": " ".join((kind.cls.__doc__ or "").split()),
        "type": "object",
        "properties": properties,
        "required": [kind.tag_field, *required] if kind.tag_field else required,
        "additionalProperties": False,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")

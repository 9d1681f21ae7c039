"""`docs/config.md` names every field with its default, and its examples are right."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import msgspec
import pytest
import yaml
from msgspec import inspect

from sidecar.config.load import parse
from sidecar.config.model import Config

PAGE = (Path(__file__).parents[2] / "docs" / "config.md").read_text()
TABLES = re.findall(r"<!-- ([\w, ]+) -->\n\|.*\n\|---.*\n((?:\|.*\n)+)", PAGE)
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def structs(kind: inspect.Type, found: dict[str, inspect.StructType]) -> dict[str, inspect.StructType]:
    """All sections of the configuration by name."""
    if isinstance(kind, inspect.StructType) and kind.cls.__name__ not in found:
        found[kind.cls.__name__] = kind
        for field in kind.fields:
            structs(field.type, found)
    elif isinstance(kind, inspect.VarTupleType):
        structs(kind.item_type, found)
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            structs(each, found)
    return found


SECTIONS = structs(inspect.type_info(Config), {})


def defaults(names: str) -> Iterator[tuple[str, str]]:
    """Each field of these sections and how the page writes its default; sections and lists of them in any words."""
    for name in names.split(", "):
        for field in SECTIONS[name].fields:
            yield f"`{field.encode_name}`", "required" if field.required else written(field)


def written(field: inspect.Field) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{json.dumps(field.default_factory())}`"
    value = msgspec.to_builtins(field.default, enc_hook=str)
    if isinstance(value, dict) or (isinstance(value, tuple) and any(isinstance(each, dict) for each in value)):
        return ANY
    return f"`{value}`" if value and isinstance(value, str) else f"`{json.dumps(value)}`"


def test_every_section_has_a_table_and_no_table_is_of_nothing() -> None:
    documented = [name for names, _ in TABLES for name in names.split(", ")]
    assert sorted(documented) == sorted(SECTIONS)


@pytest.mark.parametrize(("names", "rows"), TABLES, ids=[names for names, _ in TABLES])
def test_a_table_names_the_fields_of_its_section_in_order_with_their_defaults(names: str, rows: str) -> None:
    cells = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in rows.splitlines()]
    assert cells == list(defaults(names))


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_right(text: str) -> None:
    assert parse(yaml.safe_load(text)).listeners


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3

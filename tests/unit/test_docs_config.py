"""`docs/config.md` names every field with its default, and its examples are right."""

import re
from collections.abc import Iterator
from pathlib import Path

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


def plain_defaults(names: str) -> Iterator[tuple[str, object]]:
    for name in names.split(", "):
        for field in SECTIONS[name].fields:
            if field.required:
                yield field.encode_name, "required"
            elif field.default_factory is not msgspec.NODEFAULT:
                yield field.encode_name, field.default_factory()
            else:
                yield field.encode_name, msgspec.to_builtins(field.default, enc_hook=str)


def test_every_section_has_a_table_and_no_table_is_of_nothing() -> None:
    documented = [name for names, _ in TABLES for name in names.split(", ")]
    assert sorted(documented) == sorted(SECTIONS)


@pytest.mark.parametrize(("names", "rows"), TABLES, ids=lambda text: text.split(",")[0])
def test_a_table_names_the_fields_of_its_section_in_order_with_their_defaults(names: str, rows: str) -> None:
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    fields = list(plain_defaults(names))
    assert [row[0] for row in cells] == [f"`{name}`" for name, _ in fields]
    for row, (name, default) in zip(cells, fields, strict=True):
        written = row[1]
        if isinstance(default, dict) or name == "rules":
            assert (
                written == "required"
                or not written.startswith("`")
                or isinstance(yaml.safe_load(written.strip("`")), dict)
            )
        elif default == "required":
            assert written == "required", name
        else:
            assert yaml.safe_load(written.strip("`")) == (list(default) if isinstance(default, tuple) else default), (
                name
            )


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_right(text: str) -> None:
    assert parse(yaml.safe_load(text)).listeners


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3

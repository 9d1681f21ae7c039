"""Renders the pages' plain data as text for terminals: `name: value` lines, tables for lists of mappings.

Knows nothing of what the data means, so a page gains a column by gaining a key. Control characters, which may come from
a peer, are escaped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard


def render(value: object) -> str:
    """Text that ends in a line break."""
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _field(str(name), item)
    elif _is_table(value):
        yield from _blocks(value)
    elif isinstance(value, list | tuple) and value:
        yield from (f"- {_cell(item)}" for item in value)
    else:
        yield _cell(value)


def _field(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping | list | tuple) and value:
        yield f"{name}:"
        yield from (f"  {line}".rstrip() for line in _lines(value))
    else:
        yield f"{name}: {_cell(value)}"


def _is_table(value: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _blocks(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """One table; a block a row where the rows hold tables or mappings themselves."""
    if not any(isinstance(item, Mapping) or _is_table(item) for row in rows for item in row.values()):
        yield from _table(rows)
        return
    for at, row in enumerate(rows):
        if at:
            yield ""
        yield from _lines(row)


def _table(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[name.upper() for name in columns], *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if value is None or value in ("", [], (), {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str)
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]

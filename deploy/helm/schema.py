"""Brings the configuration's schema into the chart's values schema, so that Helm refuses what the sidecar would.

`python -m deploy.helm.schema` rewrites `values.schema.json`: definitions with a capital letter are those of
`sidecar.config.schema`, the others are written by hand. A test compares.
"""

import json
from pathlib import Path
from typing import cast

from sidecar.config.schema import schema

VALUES_SCHEMA = Path(__file__).parent / "sidecar" / "values.schema.json"


def combined(text: str) -> str:
    """The values schema with the configuration's definitions as they are now."""
    values = json.loads(text)
    own = {name: value for name, value in values["$defs"].items() if not name[0].isupper()}
    definitions = cast("dict[str, object]", schema()["$defs"])
    definitions.pop("Config")  # the chart puts it together
    values["$defs"] = {**own, **definitions}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    VALUES_SCHEMA.write_text(combined(VALUES_SCHEMA.read_text()))

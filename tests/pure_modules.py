"""Prints the pure modules as coverage's `--include` takes them: those that the import contract names."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTRACT = "Decisions do no I/O, read no clock, roll no dice"


def main() -> None:
    """A module is its file, or every file of its folder."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    modules = next(each for each in linter["contracts"] if each["name"] == CONTRACT)["source_modules"]
    paths = [Path(*name.split(".")) for name in modules]
    print(",".join(f"{path}/*" if (ROOT / path).is_dir() else f"{path}.py" for path in paths))


if __name__ == "__main__":
    main()

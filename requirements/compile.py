"""Make the pinned requirement files, with hashes, from pyproject.toml; they name no place that packages come from."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = ["pyproject.toml", *(f"--extra={name}" for name in ("uvloop", "auth", "compress", "inject"))]
FILES = {
    "runtime": PROJECT,
    "build": ["--group", "build"],
    "test": [*PROJECT, "--group", "test"],
    "bench": [*PROJECT, "--group", "bench"],
    "fuzz": ["--group", "fuzz"],
    "check": [*PROJECT, "--group", "test", "--group", "build", "--group", "check"],
}


def main() -> None:
    """One file a purpose; each is consistent with the ones before it, since all come from one resolution."""
    constraints: list[str] = []
    for name in ("check", "test", "runtime", "build", "bench", "fuzz"):
        target = HERE / f"{name}.txt"
        command = [sys.executable, "-m", "uv", "pip", "compile", *FILES[name]]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--no-emit-index-url", "--quiet", *constraints, "--output-file", str(target)]
        subprocess.run(command, check=True, cwd=HERE.parent)  # noqa: S603 - our own tools
        constraints = ["--constraint", str(HERE / "check.txt")]
        text = target.read_text()
        target.write_text(f"# Made from pyproject.toml by `make requirements`; do not edit.\n{text}")


if __name__ == "__main__":
    main()

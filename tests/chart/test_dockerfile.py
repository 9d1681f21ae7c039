"""Laws of the image that its Dockerfile must keep; read as text, since a builder is not everywhere."""

import re
from pathlib import Path

import pytest

from sidecar.inject.container import USER, container
from sidecar.inject.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
BASE = "${PYTHON_IMAGE}:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}}"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), continuation lines joined, comments dropped."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def final_stage() -> list[tuple[str, str]]:
    words = instructions()
    last = max(at for at, (word, _) in enumerate(words) if word == "FROM")
    return words[last:]


def test_the_base_image_is_named_by_variables_in_every_stage() -> None:
    assert [rest.removesuffix(" AS builder") for word, rest in instructions() if word == "FROM"] == [BASE, BASE]
    before = [rest.partition("=")[0] for word, rest in instructions() if word == "ARG"]
    assert before == ["PYTHON_IMAGE", "PYTHON_TAG", "PYTHON_DIGEST"]


def test_the_process_runs_as_the_numeric_user_of_the_container_specification() -> None:
    users = [rest for word, rest in final_stage() if word == "USER"]
    assert users == [f"{USER}:{USER}"]
    assert container(Settings())["securityContext"]["runAsUser"] == USER


def test_nothing_becomes_root_again_after_the_user_is_set() -> None:
    words = [word for word, _ in final_stage()]
    assert set(words[words.index("USER") + 1 :]) <= {"EXPOSE", "ENTRYPOINT"}


@pytest.mark.parametrize("place", ["/opt/sidecar/lib", '"$stdlib"'])
def test_byte_code_is_compiled_and_never_stale(place: str) -> None:
    commands = [part.strip() for word, rest in instructions() if word == "RUN" for part in rest.split("&&")]
    compiled = [
        command for command in commands if command.startswith("python -m compileall") and command.endswith(place)
    ]
    assert len(compiled) == 1
    assert "--invalidation-mode unchecked-hash" in compiled[0]
    assert "PYTHONDONTWRITEBYTECODE" not in TEXT


def test_dependencies_are_installed_by_hash_alone() -> None:
    commands = [part for word, rest in instructions() if word == "RUN" for part in rest.split("&&")]
    installs = [command for command in commands if "pip" in command and " install " in command]
    assert ["--require-hashes" in command or "--no-index" in command for command in installs] == [True, True, True]
    (wheel,) = [command for command in commands if "pip wheel" in command]
    assert "--no-build-isolation" in wheel


def test_pip_is_not_in_the_image() -> None:
    runs = [rest for word, rest in final_stage() if word == "RUN"]
    assert any("pip uninstall --yes" in rest and "ensurepip" in rest for rest in runs)


def test_the_entry_point_is_the_sidecar_command() -> None:
    assert final_stage()[-1] == ("ENTRYPOINT", '["sidecar"]')


def test_the_build_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    sources = [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert set(sources) == allowed - {"requirements"}

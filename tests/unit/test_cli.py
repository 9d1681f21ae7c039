"""The words of the command line: what is refused, in which words, and with which exit code."""

import json
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.cli import main
from tests.support.configs import Data
from tests.support.small_config import RULE, SMALL, change

Captured = pytest.CaptureFixture[str]


def write(folder: Path, data: Data) -> str:
    path = folder / "sidecar.yaml"
    path.write_text(json.dumps(data))
    return str(path)


def failure(capsys: Captured, *words: str, code: int = 2) -> str:
    """The one line of error that these words are answered with."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def test_the_version_and_the_help_are_printed(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sidecar {__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("proxy", "run", "check", "demo", "explain"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "the following arguments are required: COMMAND (see `sidecar --help`)"),
        (("fly",), "argument COMMAND: invalid choice: 'fly'"),
        (("proxy", "--from", ":1"), "the following arguments are required: --to (see `sidecar proxy --help`)"),
        (("proxy", "--fro", ":1", "--to", "a:1"), "the following arguments are required: --from"),
        (("run",), "the following arguments are required: --config (see `sidecar run --help`)"),
        (("check", "x"), "the following arguments are required: --config"),
        (("demo", "--twice"), "unrecognized arguments: --twice"),
        (("proxy", "--from", "x", "--to", "a:1"), "--from: expected 'host:port'"),
        (("proxy", "--from", ":1", "--to", "a"), "--to: expected 'host:port'"),
        (("proxy", "--from", ":1", "--to", "a:1", "--admin", "x"), "--admin: expected 'host:port'"),
        (("explain", "/", "--header", "x"), "--header: expected 'name: value', got 'x'"),
        (("explain", "/", "--admin", "x"), "--admin: expected 'host:port'"),
    ],
)
def test_wrong_words_are_one_line_and_2(capsys: Captured, words: tuple[str, ...], text: str) -> None:
    assert failure(capsys, *words).startswith(text)


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_that_cannot_be_read_is_one_line_and_2(capsys: Captured, command: str) -> None:
    line = failure(capsys, command, "--config", "/nope.yaml")
    assert line == "/nope.yaml: cannot read it: No such file or directory"


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_field_is_one_line_with_file_and_path_and_2(capsys: Captured, tmp_path: Path, command: str) -> None:
    path = write(tmp_path, change(f"{RULE}.timout", "1s"))
    line = failure(capsys, command, "--config", path)
    assert line == f"{path}: $.{RULE}: unknown field `timout`; did you mean `timeouts`?"


def test_check_counts_what_it_found(capsys: Captured, tmp_path: Path) -> None:
    assert main(["check", "--config", write(tmp_path, SMALL)]) == 0
    assert capsys.readouterr().out == "ok: 1 listener, 1 cluster\n"
    forward = {"name": "out", "address": ":0", "mode": "forward"}
    assert main(["check", "--config", write(tmp_path, {"listeners": [forward, {**forward, "name": "b"}]})]) == 0
    assert capsys.readouterr().out == "ok: 2 listeners, 0 clusters\n"


def test_check_compiles_regular_expressions(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, change(f"{RULE}.matches", [{"path": {"type": "RegularExpression", "value": "("}}]))
    assert failure(capsys, "check", "--config", path).startswith(f"{path}: $.{RULE}.matches[0].path.value: ")


def test_check_loads_filters_from_beside_the_file(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("async def seen(request, forward):\n    return await forward(request)\n")
    python = {"type": "Python", "python": {"function": "mine:seen"}}
    assert main(["check", "--config", write(tmp_path, change(f"{RULE}.filters", [python]))]) == 0
    python["python"] = {"function": "mine:unseen"}
    capsys.readouterr()
    path = write(tmp_path, change(f"{RULE}.filters", [python]))
    assert failure(capsys, "check", "--config", path).startswith(f"{path}: $.{RULE}.filters[0].python")


def test_explain_without_a_sidecar_is_one_line_and_1(capsys: Captured, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/admin.sock"
    line = failure(capsys, "explain", "/", "--admin", address, code=1)
    assert line.startswith(f"no sidecar answers at {address} (No such file or directory): is it running")

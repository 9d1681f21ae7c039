"""The words of the command line: which command, its configuration, and the exit code.

0: done; 2: the command line or the configuration is wrong, said in one line; 1: anything else. What a command needs is
imported when it runs, so that `--version`, `check` and a mistake answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sidecar import __version__
from sidecar.errors import ConfigError, StartError

_ADMIN = "127.0.0.1:15020"
_ADDRESSES = "ADDR is host:port, :port, http://host:port, https://host:port (upstream only) or unix:/path."


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as done:  # argparse has printed help, the version or what is wrong
        return int(done.code or 0)
    try:
        return _run(options)
    except ConfigError as error:
        return _fail(error if error.file or "config" not in options else f"{options.config}: {error}", 2)
    except StartError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 1


def _run(options: argparse.Namespace) -> int:  # noqa: PLR0911 - one a command
    match options.command:
        case "proxy":
            return _proxy(options)
        case "run":
            return _serve_file(options.config)
        case "check":
            return _check(options.config)
        case "explain":
            return _explain(options)
        case "inject":
            return _inject(options.file, options.values, undo=options.uninject)
        case "leave":
            return _leave(options.admin)
        case _:
            return _demo(once=options.once)


def _proxy(options: argparse.Namespace) -> int:
    from sidecar.config.load import from_command_line  # noqa: PLC0415 - see the module's docstring
    from sidecar.lifecycle import serve  # noqa: PLC0415

    config = from_command_line(options.from_, options.to, options.admin, cache=options.cache, compress=options.compress)
    return serve(config, config_path=None, environ=os.environ)


def _serve_file(path: str) -> int:
    from sidecar.config.pod import load  # noqa: PLC0415

    config = load(path, os.environ)  # before the heavy import: a mistake answers at once
    from sidecar.lifecycle import serve  # noqa: PLC0415

    return serve(config, config_path=path, environ=os.environ)


def _check(path: str) -> int:
    from sidecar.config.load import load  # noqa: PLC0415

    config = load(path)
    from sidecar.lifecycle import check  # noqa: PLC0415 - compiles expressions, loads filters

    check(config, str(Path(path).parent))
    print(f"ok: {_count(len(config.listeners), 'listener')}, {_count(len(config.clusters), 'cluster')}")
    return 0


def _explain(options: argparse.Namespace) -> int:
    from sidecar.admin.client import AdminError, explain  # noqa: PLC0415

    try:
        headers = [_header(text) for text in options.header]
        text = explain(options.admin, options.url, options.method, headers, options.listener)
    except AdminError as error:
        return _fail(error, 1)
    print(text, end="")
    return 0


def _inject(file: str, values: list[str], *, undo: bool) -> int:
    from sidecar.inject.command import inject  # noqa: PLC0415

    result = inject(file, values, undo=undo)
    print(result.text, end="")
    for note in result.notes:
        print(note, file=sys.stderr)
    return 0


def _leave(admin: str) -> int:
    from sidecar.admin.client import AdminError, leave  # noqa: PLC0415

    try:
        leave(admin)
    except AdminError as error:
        return _fail(error, 1)
    return 0


def _demo(*, once: bool) -> int:
    from sidecar.demo import main as demo  # noqa: PLC0415

    return demo(once=once)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError("--header", f"expected 'name: value', got {text!a}")
    return name.strip(), value.strip()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _fail(message: object, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is a question away. Options are not abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})  # for the commands' parsers too

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see `{self.prog} --help`)\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="sidecar",
        description="A Kubernetes sidecar proxy with no control plane.",
        epilog=_ADDRESSES,
    )
    parser.add_argument("--version", action="version", version=f"sidecar {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    proxy = commands.add_parser("proxy", help="forward from one address to others, without a file", epilog=_ADDRESSES)
    proxy.add_argument("--from", dest="from_", metavar="ADDR", required=True, help="where to listen")
    proxy.add_argument("--to", metavar="ADDR", action="append", required=True, help="an upstream; may be repeated")
    proxy.add_argument("--admin", metavar="ADDR", help="where the admin page listens (default: nowhere)")
    proxy.add_argument("--cache", action="store_true", help="answer from stored responses where HTTP allows it")
    proxy.add_argument("--compress", action="store_true", help="compress responses for clients that take it")

    for name, text in (
        ("run", "serve what a configuration file says"),
        ("check", "say whether a configuration file is right"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", metavar="FILE", required=True, help="the configuration, in YAML")

    demo = commands.add_parser("demo", help="a tour with three small upstreams on this machine")
    demo.add_argument("--once", action="store_true", help="end after the tour; 1 if a step did not hold")

    explain = commands.add_parser("explain", help="ask a running sidecar what it would do with a request")
    explain.add_argument("url", metavar="URL", help="http://host/path, or a path")
    explain.add_argument("--method", metavar="M", default="GET", help="default: GET")
    explain.add_argument("--header", metavar="'K: V'", action="append", default=[], help="may be repeated")
    explain.add_argument("--listener", metavar="NAME", help="default: the first one that takes the request")
    explain.add_argument("--admin", metavar="ADDR", default=_ADMIN, help=f"its admin page (default: {_ADMIN})")
    _pod_commands(commands)
    return parser


def _pod_commands(commands: "argparse._SubParsersAction[_Parser]") -> None:
    inject = commands.add_parser("inject", help="put the sidecar into the pods of Kubernetes manifests")
    inject.add_argument("-f", "--file", metavar="FILE", default="-", help="YAML or JSON; `-`: standard input (default)")
    inject.add_argument("--values", metavar="FILE", action="append", default=[], help="of the chart; may be repeated")
    inject.add_argument("--uninject", action="store_true", help="take it out instead")

    leave = commands.add_parser("leave", help="tell a running sidecar that its pod is going away")
    leave.add_argument("--admin", metavar="ADDR", default=_ADMIN, help=f"its admin page (default: {_ADMIN})")

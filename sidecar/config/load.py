"""Turns YAML, plain data or a command line into a checked `Config`, and back into plain data.

Raises ConfigError for the first mistake, naming its field. What the fields may hold is decided in `check.py`; nothing
here listens, connects or reads the environment.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import yaml
from msgspec.structs import replace

from sidecar.config.address import parse_upstream_url
from sidecar.config.check import check, check_files
from sidecar.config.diagnose import explain
from sidecar.config.model import (
    Admin,
    BackendRef,
    CacheFilter,
    Cluster,
    CompressFilter,
    Config,
    Duration,
    FilterSpec,
    Listener,
    Route,
    Rule,
    StaticSpec,
    TlsSpec,
)
from sidecar.errors import ConfigError

_Section = TypeVar("_Section", bound=msgspec.Struct)

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def load(path: str | Path) -> Config:
    """Read and check the configuration in a YAML file; raises ConfigError with `file` set."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError("", f"cannot read it: {error.strerror}", file=str(path)) from None
    return load_text(text, str(path))


def load_text(text: bytes, file: str) -> Config:
    """Check the content of `file` and that the files it names can be read; raises ConfigError with `file` set.

    Paths in it that are relative start at its folder (those of Python filters are left to who loads them).
    """
    data = _yaml(text, file)
    try:
        config = _anchored(parse(data), Path(file).parent)
        check_files(config)
    except ConfigError as error:
        raise ConfigError(error.path, error.reason, file=file) from None
    return config


def parse(data: object) -> Config:
    """Check plain data (what YAML or JSON gives) and freeze it; raises ConfigError."""
    try:
        config = msgspec.convert(data, Config, dec_hook=_decode)
        dump(config)  # the settings of a filter may contain themselves, by a YAML alias
    except msgspec.ValidationError as error:
        raise explain(error, data) from None
    except RecursionError:
        raise ConfigError("$", "a value contains itself") from None
    check(config)
    return config


def dump(config: Config) -> dict[str, object]:
    """Plain data with every field and default; `parse(dump(config)) == config`."""
    return cast("dict[str, object]", msgspec.to_builtins(config, enc_hook=str))  # the hook meets durations only


def from_command_line(
    from_: str, to: Sequence[str], admin: str | None = None, *, cache: bool = False, compress: bool = False
) -> Config:
    """One listener in front of the addresses of `to`, for `sidecar proxy`; raises ConfigError naming the option."""
    targets = [_target(text) for text in to]
    if len({tls for _, tls in targets}) > 1:
        raise ConfigError("--to", "either all of them are https:// or none")
    if from_.startswith("https://"):
        raise ConfigError("--from", "the sidecar does not listen with TLS; expected host:port or :port")
    address = from_.removeprefix("http://").removesuffix("/") if "://" in from_ else from_
    upstream = Cluster(
        name="upstream",
        static=StaticSpec(endpoints=tuple(target for target, _ in targets)),
        tls=TlsSpec() if any(tls for _, tls in targets) else None,
    )
    filters: tuple[FilterSpec, ...] = (*((CacheFilter(),) if cache else ()), *((CompressFilter(),) if compress else ()))
    route = Route(rules=(Rule(filters=filters, backend_refs=(BackendRef(name=upstream.name),)),))
    listener = Listener(name="proxy", address=address, routes=(route,))
    config = Config(listeners=(listener,), clusters=(upstream,), admin=Admin(address=admin))
    _check_options(config)
    return config


def _anchored(config: Config, folder: Path) -> Config:
    def anchor(section: _Section, *names: str) -> _Section:
        paths = {name: getattr(section, name) for name in names}
        relative = {name: str(folder / path) for name, path in paths.items() if path and not Path(path).is_absolute()}
        return replace(section, **relative)

    def cluster(spec: Cluster) -> Cluster:
        tls = anchor(spec.tls, "ca_file", "cert_file", "key_file") if spec.tls is not None else None
        return replace(spec, tls=tls, file=anchor(spec.file, "path") if spec.file is not None else None)

    log = config.access_log
    return replace(
        config,
        clusters=tuple(cluster(spec) for spec in config.clusters),
        kubernetes=anchor(config.kubernetes, "kubeconfig"),
        access_log=anchor(log, "path") if log is not None and log.path != "-" else log,
    )


def _target(text: str) -> tuple[str, bool]:
    try:
        address, tls = parse_upstream_url(text)
    except ValueError as error:
        raise ConfigError("--to", str(error)) from None
    return str(address), tls


def _check_options(config: Config) -> None:
    options = {"$.listeners": "--from", "$.clusters": "--to", "$.admin": "--admin"}
    try:
        check(config)
    except ConfigError as error:
        option = next(option for path, option in options.items() if error.path.startswith(path))
        raise ConfigError(option, error.reason) from None


def _decode(_kind: type, value: object) -> Duration:
    """Durations are the only fields that msgspec does not know."""
    return Duration.parse(value)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml where PyYAML has it
    """Safe YAML; the same key twice is an error, and a date stays the text it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"the key {key.value!a} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return cast("dict[Hashable, Any]", super().construct_mapping(node, deep))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != _TIMESTAMP]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _yaml(text: bytes, file: str) -> object:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError("", reason, file=place) from None
    except yaml.YAMLError as error:
        raise ConfigError("", f"not YAML: {' '.join(str(error).split())}", file=file) from None

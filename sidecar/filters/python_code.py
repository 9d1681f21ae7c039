"""Finds the operator's `module:function` in a mounted folder and says clearly what is wrong with it.

A folder is a package of its own, so that files beside each other import each other by `from . import other`; `sys.path`
stays as it is and two folders may hold modules of one name. A module is loaded once for each configuration: its filters
share it, a reload reads it anew.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Coroutine
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

from sidecar.errors import ConfigError
from sidecar.model import Response

FilterCode: TypeAlias = Callable[..., Coroutine[Any, Any, Response]]

_EXPECTED = "`async def {0}(request, forward)` or `async def {0}(request, forward, *, settings)`"


class Modules:
    """The folders of one configuration and the modules loaded from them."""

    __slots__ = ("_packages",)

    def __init__(self) -> None:
        self._packages: dict[Path, str] = {}

    def function(self, folder: Path, function: str, path: str) -> tuple[FilterCode, bool]:
        """The function and whether it takes settings; `path` is the field path of the filter. Raises ConfigError."""
        module_name, _, name = function.partition(":")
        if not folder.is_dir():
            raise ConfigError(f"{path}.folder", f"no such folder: {folder}")
        module = self._load(folder, module_name, f"{path}.function")
        found = getattr(module, name, None)
        if found is None:
            expected = _EXPECTED.format(name)
            raise ConfigError(f"{path}.function", f"the module `{module_name}` has no `{name}`; expected {expected}")
        return _judged(found, name, f"{path}.function")

    def _load(self, folder: Path, module_name: str, path: str) -> ModuleType:
        full_name = f"{self._package(folder)}.{module_name}"
        try:
            return importlib.import_module(full_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (full_name + ".").startswith(error.name + "."):
                raise ConfigError(path, f"no module `{module_name}` in the folder {folder}") from error
            raise ConfigError(path, _told(error, folder)) from error
        except (Exception, SystemExit) as error:  # the operator's code may raise anything
            raise ConfigError(path, _told(error, folder)) from error

    def _package(self, folder: Path) -> str:
        """The name of the package that stands for the folder; what an earlier configuration loaded is forgotten."""
        folder = folder.resolve()
        if folder not in self._packages:
            name = f"sidecar_filters_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
            for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
                del sys.modules[loaded]
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
            importlib.invalidate_caches()
            sys.modules[name] = importlib.util.module_from_spec(spec)
            self._packages[folder] = name
        return self._packages[folder]


def _judged(found: object, name: str, path: str) -> tuple[FilterCode, bool]:
    if not inspect.iscoroutinefunction(found):
        raise ConfigError(path, f"`{name}` is no coroutine function; expected {_EXPECTED.format(name)}")
    signature = inspect.signature(found)
    takes_settings = "settings" in signature.parameters
    try:
        signature.bind(None, None, **({"settings": None} if takes_settings else {}))
    except TypeError:
        raise ConfigError(path, f"`{name}{signature}` cannot be called; expected {_EXPECTED.format(name)}") from None
    return cast("FilterCode", found), takes_settings


def _told(error: BaseException, folder: Path) -> str:
    """One line: what was raised and where in the operator's files."""
    own = [at for at in traceback.extract_tb(error.__traceback__) if at.filename.startswith(str(folder.resolve()))]
    line = f" ({Path(own[-1].filename).name} line {own[-1].lineno})" if own else ""
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name and (folder / f"{error.name}.py").exists():
        hint = f"; a file of the same folder is imported by `from . import {error.name}`"
    return f"importing it failed: {type(error).__name__}: {ascii(str(error))[1:-1]}{line}{hint}"

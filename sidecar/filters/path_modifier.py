"""What URLRewrite and RequestRedirect do to a path (HTTPPathModifier): replace it, or the prefix that matched. Pure.

The query is no part of a path and stays with the callers. Bytes that are not replaced are not touched.
"""

from collections.abc import Callable
from typing import TypeAlias

from sidecar.config.model import PathModifier
from sidecar.errors import ConfigError

NewPath: TypeAlias = Callable[[bytes, bytes], bytes]  # path and matched prefix -> path


def path_modifier(spec: PathModifier | None, path: str) -> NewPath | None:
    """The function that gives the new path, None without `spec`. Raises ConfigError for a value that is no path."""
    if spec is None:
        return None
    if spec.type == "ReplaceFullPath":
        full = _checked(spec.replace_full_path or "", f"{path}.replaceFullPath")
        return lambda _path, _prefix: full
    value = spec.replace_prefix_match or ""
    replacement = _checked(value, f"{path}.replacePrefixMatch") if value else b""
    return lambda path, prefix: replace_prefix(path, prefix, replacement)


def replace_prefix(path: bytes, prefix: bytes, replacement: bytes) -> bytes:
    """Replace a prefix of whole segments; final slashes of prefix and replacement do not count, an empty path is `/`.

    A path that is not below the prefix (a filter before changed it) stays as it is.
    """
    prefix = prefix.removesuffix(b"/")
    rest = path[len(prefix) :]
    if not path.startswith(prefix) or (rest and not rest.startswith(b"/")):
        return path
    return replacement.removesuffix(b"/") + rest or b"/"


def _checked(value: str, path: str) -> bytes:
    if not value.startswith("/") or "?" in value or "#" in value:
        raise ConfigError(path, f"expected a path that starts with `/`, without `?` and `#`, got {value!a}")
    return value.encode()

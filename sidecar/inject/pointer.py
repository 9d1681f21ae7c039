"""JSON Patch (RFC 6902) applied to plain data in place: add, replace and remove, which is all that is generated."""

import copy
from collections.abc import Iterable
from typing import Any

from sidecar.inject.patch import PatchOp


def apply(document: Any, operations: Iterable[PatchOp]) -> None:
    """Change the document; containers that keep order and comments keep them. Raises LookupError for a wrong path."""
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation.path.split("/")[1:]]
        target = document
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        value = copy.deepcopy(operation.value)  # one value may be put into many pods
        if isinstance(target, list) and operation.op == "add":
            target.insert(len(target) if last == "-" else int(last), value)
        elif operation.op == "remove":
            del target[int(last) if isinstance(target, list) else last]
        else:
            target[int(last) if isinstance(target, list) else last] = value

"""`sidecar inject`: manifests in, the same manifests out, with the sidecar in (or out of) every pod they make.

YAML streams and JSON, all kinds that hold a pod, and lists of them (`List`, a kustomize function's `ResourceList`).
A document in which nothing changes comes out byte by byte; of the others comments and order are kept. Decides nothing
about pods: `patch.py` and `undo.py` do.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sidecar.errors import ConfigError, StartError
from sidecar.inject import annotations, patch
from sidecar.inject.pointer import apply
from sidecar.inject.settings import Manifest, Settings
from sidecar.inject.undo import uninject

# Where each kind keeps its pod's metadata and spec.
POD_AT: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"), ("spec", "template")
    ),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}

_SEPARATOR = re.compile(r"^(?=---(?:\s|$))", re.MULTILINE)
_INDENTED_LIST = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\n(?:[ ]*#[^\n]*\n)*\1 +- ", re.MULTILINE)


@dataclass(slots=True)
class Result:
    """The manifests as text, and a line on each object that holds a pod."""

    text: str
    notes: list[str] = field(default_factory=list)


def rewrite(text: str, settings: Settings, *, undo: bool = False) -> Result:
    """Put the sidecar into every pod, or take it out; raises ConfigError for no manifest and for wrong annotations."""
    result = Result("")
    if text.lstrip().startswith("{"):
        result.text = _json(text, settings, result.notes, undo=undo)
    else:
        pieces = [_yaml(piece, settings, result.notes, undo=undo) for piece in _SEPARATOR.split(text)]
        result.text = "".join(pieces)
    return result


def _json(text: str, settings: Settings, notes: list[str], *, undo: bool) -> str:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError("", f"not JSON: {error}") from None
    changed = _document(document, settings, notes, undo=undo)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n" if changed else text


def _yaml(text: str, settings: Settings, notes: list[str], *, undo: bool) -> str:
    yaml, errors = _round_trip(text)
    try:
        document = yaml.load(text)
    except errors as error:
        raise ConfigError("", f"not YAML: {' '.join(str(error).split())}") from None
    if not _document(document, settings, notes, undo=undo):
        return text
    out = io.StringIO()
    yaml.explicit_start = text.startswith("---")
    yaml.dump(document, out)
    return out.getvalue()


def _round_trip(text: str) -> tuple[Any, type[Exception]]:
    try:
        from ruamel.yaml import YAML  # noqa: PLC0415 - optional
        from ruamel.yaml.error import YAMLError  # noqa: PLC0415
    except ImportError:
        raise StartError("`sidecar inject` needs ruamel.yaml: pip install 'sidecar[inject]'") from None
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # lines are not folded
    if _INDENTED_LIST.search(text):
        yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml, YAMLError


def _document(document: object, settings: Settings, notes: list[str], *, undo: bool) -> bool:
    """Whether anything in it has changed."""
    changes = [_object(each, settings, notes, undo=undo) for each in _objects(document)]
    return any(changes)


def _objects(document: object) -> Iterator[Manifest]:
    if isinstance(document, dict):
        items = document.get("items")
        if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
            for item in items:
                yield from _objects(item)
        else:
            yield document


def _object(document: Manifest, settings: Settings, notes: list[str], *, undo: bool) -> bool:
    kind = document.get("kind")
    if kind not in POD_AT:
        return False
    name = f"{kind}/{(document.get('metadata') or {}).get('name', '')}"
    pod: Any = document
    for step in POD_AT[kind]:
        pod = pod.get(step) if isinstance(pod, dict) else None
    if not isinstance(pod, dict) or not isinstance(pod.get("spec"), dict) or not pod["spec"].get("containers"):
        raise ConfigError(name, f"expected a pod at {'.'.join((*POD_AT[kind], 'spec', 'containers'))}")
    act: Callable[[Manifest, Settings], tuple[bool, str]] = _undo if undo else _inject
    try:
        changed, note = act(pod, settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(name, f"no pod as Kubernetes knows it: {error!r}") from None
    except ConfigError as error:
        raise ConfigError(name, error.reason) from None
    notes.append(f"{name}: {note}")
    return changed


def _undo(pod: Manifest, settings: Settings) -> tuple[bool, str]:
    done = uninject(pod, settings)
    return done, "sidecar taken out" if done else "left alone: injection has not been here"


def _inject(pod: Manifest, settings: Settings) -> tuple[bool, str]:
    wrong = annotations.problems((pod.get("metadata") or {}).get("annotations") or {})
    if wrong:
        raise ConfigError("", "; ".join(map(str, wrong)))
    operations = patch.patch(pod, settings)
    if not operations:
        return False, "left alone: it has a sidecar already, or says no"
    before = json.dumps(pod, sort_keys=True)
    why = patch.obstacle(pod, settings)
    apply(pod, operations)
    return json.dumps(pod, sort_keys=True) != before, f"no sidecar: {why}" if why else "sidecar put in"

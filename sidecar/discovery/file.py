"""Endpoints from EndpointSlice manifests in a file: YAML or JSON, several documents, lists; re-read when it changes.

A file that is half written, broken or gone for a moment keeps the last good endpoints. Needs no cluster.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from sidecar.config.model import FileSpec
from sidecar.discovery.manifests import SERVICE_LABEL, parse
from sidecar.discovery.slices import Slice, merge, port_names
from sidecar.discovery.source import Metrics, Publish, Snapshot

_log = logging.getLogger("sidecar.discovery")
_POLL = 0.2  # seconds
_MAX_BYTES = 64 * 1024 * 1024


class _Content(NamedTuple):
    slices: tuple[Slice, ...]
    problem: str = ""


class FileSource:
    """The slices of one Service in a file; `namespace` None: of any namespace."""

    def __init__(self, spec: FileSpec, *, metrics: Metrics, poll: float = _POLL) -> None:
        self._spec = spec
        self._metrics = metrics
        self._poll = poll

    async def follow(self, publish: Publish) -> None:
        """Publish what the file holds and every change of it, until cancelled."""
        good: tuple[Slice, ...] = ()
        stamp: tuple[int, ...] | None = None
        last: Snapshot | None = None
        while True:
            fresh_stamp = _stamp(self._spec.path)
            if last is None or fresh_stamp != stamp:
                stamp = fresh_stamp
                content = await asyncio.to_thread(self._read)
                if not content.problem:
                    good = content.slices
                fresh = self._snapshot(good, content.problem)
                if fresh != last:
                    last = fresh
                    if fresh.problem:
                        _log.warning("%s", fresh.problem)
                    publish(fresh)
            await asyncio.sleep(self._poll)

    def _snapshot(self, slices: tuple[Slice, ...], problem: str) -> Snapshot:
        endpoints = merge(slices, self._spec.port)
        if problem:
            return Snapshot(endpoints=endpoints, origin="stale" if endpoints else "file", problem=problem)
        if not endpoints:
            problem = self._why_empty(slices)
        return Snapshot(endpoints=endpoints, origin="file", problem=problem, exists=bool(slices))

    def _why_empty(self, slices: tuple[Slice, ...]) -> str:
        if not slices:
            where = f" in namespace {self._spec.namespace}" if self._spec.namespace else ""
            return f"{self._spec.path}: no EndpointSlice is labelled {SERVICE_LABEL}: {self._spec.service}{where}"
        names = sorted(port_names(slices))
        if any(piece.endpoints for piece in slices) and names:
            return f"{self._spec.path}: no port {self._spec.port!r}; ports of {self._spec.service}: {', '.join(names)}"
        return f"{self._spec.path}: the EndpointSlices of {self._spec.service} have no endpoints"

    def _read(self) -> _Content:
        path = self._spec.path
        try:
            if Path(path).stat().st_size > _MAX_BYTES:
                return _Content((), f"{path}: larger than {_MAX_BYTES} bytes")
            documents = list(yaml.load_all(Path(path).read_bytes(), Loader=_Loader))
        except OSError as error:
            return _Content((), f"{path}: cannot be read: {error.strerror}")
        except (yaml.YAMLError, ValueError) as error:
            return _Content((), f"{path}: is no YAML: {' '.join(str(error).split())[:200]}")
        if not any(documents):
            return _Content((), f"{path}: is empty")  # or about to be written
        return _Content(tuple(self._slices(documents)))

    def _slices(self, documents: list[object]) -> Iterator[Slice]:
        for manifest in _manifests(documents):
            parsed = parse(manifest)
            for problem in parsed.problems:
                self._metrics.skipped(problem.kind)
                _log.warning("%s: %s left out: %s", self._spec.path, ascii(parsed.name), problem.details)
            if self._spec.namespace in (None, parsed.namespace or "default"):
                yield from (piece for piece in parsed.slices if piece.service == self._spec.service)


_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _manifests(documents: list[object]) -> Iterator[object]:
    """The objects of all documents; those of another kind are none of our business."""
    for document in documents:
        if isinstance(document, list):
            yield from _manifests(document)
        elif isinstance(document, dict) and isinstance(document.get("items"), list):
            yield from _manifests(document["items"])
        elif isinstance(document, dict) and document.get("kind") not in (None, "EndpointSlice", "Endpoints"):
            continue
        elif document is not None:
            yield document


def _stamp(path: str) -> tuple[int, ...] | None:
    """What changes with the file, the symbolic links of a ConfigMap volume followed; None: not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - one system call of a microsecond, five times a second
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size

"""The slices of one namespace, the Services that somebody wants from it, and whom to tell when theirs change.

Folds events by the pure rules of `slices.py`; counts and logs what is malformed; opens no connection.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sidecar.discovery.manifests import Parsed, parse
from sidecar.discovery.slices import Deleted, Event, Relisted, Slice, Slices, Upserted, apply, of_service
from sidecar.discovery.source import Metrics

_log = logging.getLogger("sidecar.discovery")


class Store:
    """What is known of one namespace."""

    def __init__(self, metrics: Metrics, where: str) -> None:
        self._metrics = metrics
        self._where = where  # for log lines
        self._slices: Slices = {}
        self._subscribers: dict[str, list[Callable[[], None]]] = {}
        self._complaints: dict[str, Parsed] = {}  # the last malformed state of an object, so that it is told once
        self.listed: frozenset[str] = frozenset()  # Services that the last whole list covered

    @property
    def wanted(self) -> frozenset[str]:
        """The Services that have a subscriber."""
        return frozenset(self._subscribers)

    @contextmanager
    def subscription(self, service: str, changed: Callable[[], None]) -> Iterator[None]:
        """Within it `changed` is called after each change of the Service's slices and of the watch's state."""
        self._subscribers.setdefault(service, []).append(changed)
        try:
            yield
        finally:
            self._subscribers[service].remove(changed)
            if not self._subscribers[service]:
                del self._subscribers[service]

    def slices(self, service: str) -> tuple[Slice, ...]:
        """The slices of a Service; all of them only if it is in `listed`."""
        return of_service(self._slices, service)

    def fold(self, event: Event) -> None:
        """Take an event in and tell those whose Service it touches."""
        before, self._slices = self._slices, apply(self._slices, event)
        match event:
            case Relisted(slices):
                self._complaints = {name: told for name, told in self._complaints.items() if name in slices}
                self.tell()
            case Upserted(name) | Deleted(name):
                pieces = (*before.get(name, ()), *self._slices.get(name, ()))
                for service in {piece.service for piece in pieces}:
                    self._tell(service)

    def tell(self) -> None:
        """Tell everybody, since the state of the watch has changed."""
        for service in list(self._subscribers):
            self._tell(service)

    def read(self, manifest: object) -> Parsed:
        """Parse an object; what is malformed is counted, and told once for each state of the object."""
        parsed = parse(manifest)
        if not parsed.problems:
            self._complaints.pop(parsed.name, None)
            return parsed
        for problem in parsed.problems:
            self._metrics.skipped(problem.kind)
        if self._complaints.get(parsed.name) != parsed:
            self._complaints[parsed.name] = parsed
            details = "; ".join(problem.details for problem in parsed.problems[:3])
            count, name = len(parsed.problems), ascii(parsed.name)
            _log.warning("%s: %d malformed parts of the slice %s left out: %s", self._where, count, name, details)
        return parsed

    def forget_complaint(self, name: str) -> None:
        """The object is gone."""
        self._complaints.pop(name, None)

    def _tell(self, service: str) -> None:
        for changed in tuple(self._subscribers.get(service, ())):
            changed()

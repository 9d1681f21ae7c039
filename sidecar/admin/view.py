"""What the admin pages read of the running proxy; the composition root provides it."""

from typing import Literal, Protocol, TypeAlias

Phase: TypeAlias = Literal["warming", "active", "draining", "stopped"]
Page: TypeAlias = dict[str, object]  # values that JSON knows


class ProxyView(Protocol):
    """A view for people and probes: every call is cheap, none waits."""

    @property
    def phase(self) -> Phase:
        """Where in its life the proxy is."""

    def not_ready(self) -> list[str]:
        """Why the proxy should get no traffic yet, one reason an item; empty when it should."""

    def metrics(self) -> bytes:
        """The metrics in Prometheus' text format (version 0.0.4)."""

    def config(self) -> Page:
        """The configuration in force, secrets hidden: `config.redact.redacted`."""

    def clusters(self) -> list[Page]:
        """Each cluster with its `endpoints`: address, state, zone, weight, load, latency score, ejected until, why."""

    def explain(self, method: str, url: str, headers: list[tuple[str, str]], listener: str | None) -> Page:
        """What would happen to a request; raises ValueError where the question makes no sense."""

    def purge(self, url: str) -> int | None:
        """Forget stored responses: of one URL, of all that begin so (`…*`), or all (`*`); returns how many there were.

        None where nothing caches; raises ValueError where `url` is none of the three.
        """

    def leave(self) -> None:
        """The pod is going away: tell inbound clients so with each answer, and go on serving."""

    def drain(self) -> None:
        """Begin to drain, as SIGTERM does; a second call changes nothing."""

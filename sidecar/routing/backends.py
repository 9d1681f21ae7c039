"""Which backend of a rule is next: smooth weighted round robin, so that weights hold exactly over every cycle.

Decides by weight alone; whether the backend's endpoints are well is for its cluster.
"""

from collections.abc import Sequence

from sidecar.config.model import BackendRef
from sidecar.errors import BadBackend


class _Share:
    """One backend with what it is owed."""

    __slots__ = ("owed", "ref")

    def __init__(self, ref: BackendRef) -> None:
        self.ref = ref
        self.owed = 0


class Backends:
    """The backends of one rule. With weights 90 and 10, 9 of each 10 picks in a row are the first, spread evenly."""

    __slots__ = ("_cycle", "_only", "_shares", "_why_none")

    def __init__(self, refs: Sequence[BackendRef]) -> None:
        self._shares = [_Share(ref) for ref in refs if ref.weight > 0]
        self._only = self._shares[0].ref if len(self._shares) == 1 else None
        self._cycle = sum(ref.weight for ref in refs)
        self._why_none = "all backends of the rule have weight 0" if refs else "the rule has no backend"

    def pick(self) -> BackendRef:
        """The next backend. Raises BadBackend where there is none, or none with a weight (HTTPRoute: 500)."""
        if self._only is not None:
            return self._only
        if not self._shares:
            raise BadBackend(self._why_none)
        best = self._shares[0]
        for share in self._shares:
            share.owed += share.ref.weight
            if share.owed > best.owed:
                best = share
        best.owed -= self._cycle
        return best.ref

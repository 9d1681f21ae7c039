"""The composition root. `proxy.py` builds, starts, drains and stops everything: the page to read first.

`serve.py` is the process around it (event loop, signals, memory), `assemble.py` makes the handler of a listener from
the configuration, `view.py` is what the admin pages read.
"""

from sidecar.lifecycle.assemble import check
from sidecar.lifecycle.serve import serve

__all__ = ["check", "serve"]

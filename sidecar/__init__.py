"""A Kubernetes sidecar proxy with no control plane. Start reading at `lifecycle.py`."""

__version__ = "0.1.0"

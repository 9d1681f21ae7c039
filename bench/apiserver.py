"""An API server with one Service for the runs with Kubernetes discovery: the one that the tests use, as a process.

`python -m bench.apiserver KUBECONFIG IP PORT` writes the kubeconfig when it is ready.
"""

import asyncio
import sys
from pathlib import Path

from tests.support.fake_apiserver import FakeApiServer

NAMESPACE, SERVICE = "shop", "app"


async def main(kubeconfig: Path, ip: str, port: int) -> None:
    """Serve until the process is ended."""
    async with FakeApiServer() as api:
        api.put_service(NAMESPACE, SERVICE, ports=[{"port": 80, "targetPort": port}], clusterIP="10.0.0.1")
        api.put_slice(NAMESPACE, f"{SERVICE}-1", SERVICE, [(ip, port)])
        api.kubeconfig(kubeconfig, namespace=NAMESPACE)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))

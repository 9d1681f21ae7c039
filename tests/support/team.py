"""A namespace of a cluster with what a team has in it: accounts, the chart's objects, Services, slices, a sidecar."""

from pathlib import Path
from typing import Any

from tests.support import helm
from tests.support.control_plane import ControlPlane
from tests.support.pod import ServiceAccountFolder, Sidecar


class Team:
    """A namespace with an account, the chart's rights and configuration, and the files of a pod in it."""

    def __init__(self, plane: ControlPlane, name: str, folder: Path) -> None:
        self.plane = plane
        self.name = name
        self.folder = folder
        plane.create_namespace(name)
        self.account = ServiceAccountFolder(
            folder / "account", plane.folder / "ca.crt", name, plane.token(name, "default")
        )

    def install(self, *values: str) -> None:
        """Install the chart: what it renders is applied."""
        self.plane.install_chart(self.name, *values)

    def create_service(self, name: str, *ports: tuple[str, int]) -> str:
        """A Service, by default with port 80; returns its cluster IP."""
        spec = {"ports": [{"name": each, "port": number} for each, number in ports or (("", 80),)]}
        body = {"metadata": {"name": name}, "spec": spec}
        made = self.plane.call("POST", f"/api/v1/namespaces/{self.name}/services", body)
        return str(made["spec"]["clusterIP"])

    def put_slice(self, manifest: dict[str, Any]) -> dict[str, Any]:
        return self.plane.put_slice(self.name, manifest)

    def sidecar(self) -> Sidecar:
        """A pod's sidecar with the chart's configuration, not yet running."""
        (config_map,) = helm.of_kind(helm.template(helm.CHARTS / "sidecar", "web", self.name), "ConfigMap")
        return Sidecar(config_map["data"]["sidecar.yaml"], self.account, self.folder)
